//! What a confined thread may still do. The functions are those that `serve` calls; only this
//! thread is confined, because the tests need the others.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    path::Path,
    process::Command,
};

use keyferry::harden::{Confinement, Extent, Filter, Grants, confine_thread};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, connect, netlink, socket},
};

/// Confines a thread and lets it try something.
fn confined<T: Send>(grants: &Grants, attempt: impl FnOnce(Confinement) -> T + Send) -> T {
    std::thread::scope(|threads| {
        let thread = threads.spawn(|| attempt(confine_thread(grants).expect("rules")));
        thread.join().expect("no panic")
    })
}

/// Whether this kernel has what the rules need; else the test says so and shows nothing.
fn holds(extent: Extent) -> bool {
    if extent != Extent::Whole {
        eprintln!("this kernel does not confine to files and ports: not tried");
    }
    extent == Extent::Whole
}

fn is<T>(outcome: io::Result<T>, error: Errno) -> bool {
    outcome.err().and_then(|error| error.raw_os_error()) == Some(error.raw_os_error())
}

fn dial(port: u16) -> io::Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    Ok(connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?)
}

#[test]
fn files_that_are_not_granted_cannot_be_opened() {
    let granted = tempfile::tempdir().expect("a folder");
    let foreign = tempfile::tempdir().expect("a folder");
    let [inside, outside, named] =
        [granted.path().join("file"), foreign.path().join("file"), foreign.path().join("named")];
    for path in [&inside, &outside, &named] {
        fs::write(path, "text").expect("a file");
    }
    std::os::unix::fs::symlink(&outside, granted.path().join("link")).expect("a link");
    let linked = granted.path().join("linked");
    std::os::unix::fs::symlink(&named, &linked).expect("a link");
    let grants =
        Grants { read: vec![linked.clone()], write: vec![granted.path().to_owned()], ..Grants::default() };
    confined(&grants, |confinement| {
        if !holds(confinement.landlock.files) {
            return;
        }
        assert_eq!(fs::read_to_string(&inside).expect("granted"), "text");
        fs::write(granted.path().join("new"), "text").expect("granted");
        fs::rename(granted.path().join("new"), granted.path().join("newer")).expect("granted");
        fs::remove_file(granted.path().join("newer")).expect("granted");
        assert_eq!(fs::read_to_string(&linked).expect("granted"), "text");
        assert_eq!(fs::read_to_string(&named).expect("granted by a link to it"), "text");
        assert!(is(fs::write(&named, "other"), Errno::ACCESS), "to read is not to write");
        for path in
            [&outside, &granted.path().join("link"), Path::new("/etc/passwd"), Path::new("/proc/1/status")]
        {
            assert!(is(fs::read(path), Errno::ACCESS), "{}", path.display());
        }
        assert!(is(fs::write(foreign.path().join("new"), "text"), Errno::ACCESS));
        assert!(is(fs::remove_file(&outside), Errno::ACCESS));
        assert!(is(UnixListener::bind(granted.path().join("socket")), Errno::ACCESS), "no sockets here");
        assert!(is(std::os::unix::fs::symlink("x", granted.path().join("other")), Errno::ACCESS), "no links");
        fs::read_dir("/proc/self/task").expect("what the system's libraries need");
        if Path::new("/etc/resolv.conf").exists() {
            fs::read("/etc/resolv.conf").expect("the name servers, wherever a link leads");
        }
    });
    confined(&Grants { sockets: vec![granted.path().to_owned()], ..Grants::default() }, |confinement| {
        if !holds(confinement.landlock.files) {
            return;
        }
        let path = granted.path().join("socket");
        drop(UnixListener::bind(&path).expect("granted"));
        fs::remove_file(&path).expect("granted");
        assert!(is(fs::read(&inside), Errno::ACCESS), "a folder for sockets is no folder for files");
    });
}

#[test]
fn ports_that_are_not_granted_cannot_be_reached_or_bound() {
    let listeners = [0, 0].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a port"));
    let [granted, foreign] = [0, 1].map(|at: usize| listeners[at].local_addr().expect("an address").port());
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(|_| ());
    let grants = Grants {
        connect: BTreeSet::from([granted]),
        bind: Some(BTreeSet::from([granted])),
        ..Grants::default()
    };
    confined(&grants, |confinement| {
        if !holds(confinement.landlock.ports) {
            return;
        }
        dial(granted).expect("granted");
        assert!(is(dial(foreign), Errno::ACCESS));
        assert!(is(bind(granted), Errno::ADDRINUSE), "it was allowed to try");
        assert!(is(bind(0), Errno::ACCESS), "a port of the system's choice");
    });
    confined(&Grants::default(), |_| bind(0).expect("any, because none was named"));
}

/// A network HSM is behind a port that only its client library knows, or behind a daemon's socket.
#[test]
fn a_hardware_module_connects_to_and_opens_what_only_its_maker_knows() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "text").expect("a file");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let name = format!("keyferry-test-{}-{port}", std::process::id());
    let daemon = SocketAddr::from_abstract_name(name).expect("a name");
    let _listening = UnixListener::bind_addr(&daemon).expect("a socket");
    confined(&Grants { bind: Some(BTreeSet::new()), ..Grants::default() }, |confinement| {
        if !holds(confinement.landlock.ports) {
            return;
        }
        assert!(!confinement.landlock.freed);
        assert!(is(dial(port), Errno::ACCESS), "without a module it is refused");
        if confinement.landlock.abi >= 6 {
            assert!(is(UnixStream::connect_addr(&daemon).map(|_| ()), Errno::PERM));
        }
    });
    for bind in [Some(BTreeSet::new()), None] {
        let grants = Grants { module: true, bind: bind.clone(), ..Grants::default() };
        confined(&grants, |confinement| {
            assert!(confinement.landlock.freed);
            assert_eq!(confinement.landlock.files, Extent::None);
            assert_ne!(confinement.landlock.ports, Extent::Whole);
            assert_eq!(confinement.filter, Filter::Holds);
            dial(port).expect("any port");
            UnixStream::connect_addr(&daemon).expect("any socket");
            assert_eq!(fs::read_to_string(&file).expect("any file"), "text");
            if bind.is_some() && confinement.landlock.ports == Extent::Part {
                let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
                assert!(is(bound, Errno::ACCESS), "but none is bound");
            }
        });
    }
}

#[test]
fn nothing_is_run_and_nobody_is_looked_into() {
    let mut other = Command::new("sleep").arg("60").spawn().expect("it starts");
    let pid = other.id().cast_signed();
    let calls = confined(&Grants::default(), |confinement| {
        assert_eq!(confinement.filter, Filter::Holds);
        assert!(is(Command::new("/bin/true").status(), Errno::PERM), "no new process");
        assert!(is(
            socket(AddressFamily::PACKET, SocketType::RAW, None).map_err(io::Error::from),
            Errno::PERM
        ));
        let ask = |protocol| socket(AddressFamily::NETLINK, SocketType::RAW, protocol);
        ask(None).expect("the C library asks for the machine's addresses");
        assert_eq!(ask(Some(netlink::KOBJECT_UEVENT)).err(), Some(Errno::PERM));
        std::thread::spawn(|| ()).join().expect("threads are made as before");
        refused_calls(pid)
    });
    for (name, error) in calls {
        assert_eq!(error, Some(libc::EPERM), "{name}");
    }
    let _ = other.kill();
    let _ = other.wait();
}

/// What the kernel says to calls that have no safe form.
#[expect(unsafe_code, reason = "the calls have no safe form; none of them is given memory")]
fn refused_calls(pid: i32) -> Vec<(&'static str, Option<i32>)> {
    let mut said = Vec::new();
    let mut call = |name, number: libc::c_long, first: libc::c_long| {
        // SAFETY: every argument beside the first is zero, so the kernel reads and writes no memory
        // of this process, whatever it answers. The calls are refused; were they not, `execve` and
        // its kind would fail for want of a path, and the others would hit only the child `pid`.
        let answer = unsafe { libc::syscall(number, first, 0, 0, 0, 0, 0) };
        said.push((name, (answer == -1).then(|| io::Error::last_os_error().raw_os_error()).flatten()));
    };
    let pid = libc::c_long::from(pid);
    call("execve", libc::SYS_execve, 0);
    call("execveat", libc::SYS_execveat, -1);
    call("ptrace", libc::SYS_ptrace, libc::c_long::from(libc::PTRACE_ATTACH));
    call("process_vm_readv", libc::SYS_process_vm_readv, pid);
    call("process_vm_writev", libc::SYS_process_vm_writev, pid);
    call("pidfd_getfd", libc::SYS_pidfd_getfd, -1);
    call("bpf", libc::SYS_bpf, 0);
    call("perf_event_open", libc::SYS_perf_event_open, 0);
    call("userfaultfd", libc::SYS_userfaultfd, 0);
    call("io_uring_setup", libc::SYS_io_uring_setup, 1);
    call("keyctl", libc::SYS_keyctl, 0);
    call("unshare", libc::SYS_unshare, 0);
    call("mount", libc::SYS_mount, 0);
    call("init_module", libc::SYS_init_module, 0);
    call("clone without a thread", libc::SYS_clone, 0);
    #[cfg(target_arch = "x86_64")]
    {
        call("fork", libc::SYS_fork, 0);
        call("execve by the other table", 0x4000_0208, 0);
    }
    said
}
