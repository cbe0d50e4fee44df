//! Where the socket may lie, and what it looks like there.

use std::os::unix::fs::symlink;

use super::*;

/// A folder that only its owner may write to.
fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").mode() & 0o7777
}

#[test]
fn the_socket_is_its_owners_alone_unless_others_are_named() {
    let sidecar = Sidecar::start(NO_GATEWAY, &[]);
    assert_eq!(mode(&sidecar.socket()), 0o600);
    let shared = Sidecar::start(NO_GATEWAY, &["--allow-gid", "50009"]);
    assert_eq!(mode(&shared.socket()), 0o660, "the group bits are the mask of the access list");
    let entries = fs::read_dir(shared.folder.path()).expect("a folder");
    let names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(names.is_empty(), "nothing is left of making it: {names:?}");
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let folder = folder();
    for writable in [0o777, 0o770, 0o757, 0o1777] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(writable)).expect("a mode");
        let said = refused(folder.path(), NO_GATEWAY, &[]);
        assert!(said.contains("others may write"), "{writable:o}: {said}");
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("a mode");
    let below = folder.path().join("below");
    fs::create_dir(&below).expect("a folder");
    fs::set_permissions(&below, fs::Permissions::from_mode(0o700)).expect("a mode");
    let said = refused(&below, NO_GATEWAY, &[]);
    assert!(said.contains("others may write"), "the folder itself could be replaced: {said}");
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        chown(folder.path(), Some(50_001), None).expect("another owner");
        assert!(refused(folder.path(), NO_GATEWAY, &[]).contains("or own it"));
    }
}

#[test]
fn a_token_that_others_may_read_is_refused() {
    let folder = folder();
    let token = folder.path().join("token");
    fs::write(&token, OPERATOR).expect("a file");
    for open in [0o644, 0o604, 0o602] {
        fs::set_permissions(&token, fs::Permissions::from_mode(open)).expect("a mode");
        let said = refused(folder.path(), NO_GATEWAY, &[]);
        assert!(said.contains("--token-file") && said.contains(&format!("{open:04o}")), "{said}");
        assert!(said.contains("chmod o="), "{said}");
    }
    // As systemd hands credentials to a group.
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).expect("a mode");
    Sidecar::start_in(folder, NO_GATEWAY, &[]);
}

#[test]
fn what_is_there_and_no_socket_is_not_touched() {
    let folder = folder();
    let place = folder.path().join("keys.sock");
    let target = folder.path().join("target");
    fs::write(&target, "text").expect("a file");
    symlink(&target, &place).expect("a link");
    assert!(refused(folder.path(), NO_GATEWAY, &[]).contains("it is not touched"));
    assert_eq!(fs::read_to_string(&target).expect("it is there"), "text");
    fs::remove_file(&place).expect("it is there");
    // A link that leads nowhere yet, or to a socket elsewhere.
    for target in [folder.path().join("nothing"), Path::new("/nonexistent/keys.sock").to_owned()] {
        symlink(&target, &place).expect("a link");
        assert!(refused(folder.path(), NO_GATEWAY, &[]).contains("it is not touched"));
        assert!(!target.exists());
        fs::remove_file(&place).expect("it is there");
    }
    fs::write(&place, "text").expect("a file");
    assert!(refused(folder.path(), NO_GATEWAY, &[]).contains("it is not touched"));
    assert_eq!(fs::read_to_string(&place).expect("it is there"), "text");
}

#[test]
fn a_folder_that_is_a_link_is_judged_by_where_it_leads() {
    let open = folder();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o777)).expect("a mode");
    let own = folder();
    let link = own.path().join("link");
    symlink(open.path(), &link).expect("a link");
    assert!(refused(&link, NO_GATEWAY, &[]).contains("others may write"));
}

#[test]
fn a_socket_whose_process_lives_is_not_replaced_and_one_that_a_dead_one_left_is() {
    let mut first = Sidecar::start(NO_GATEWAY, &[]);
    let said = refused(first.folder.path(), NO_GATEWAY, &[]);
    assert!(said.contains("another process answers"), "{said}");
    is_refused(&first.ask(&a_test()), "BYOK_SERVICE_UNAVAILABLE");
    first.signal(rustix::process::Signal::KILL);
    first.child.wait().expect("it ends");
    assert!(first.socket().exists(), "a killed process takes nothing away");
    let moved = std::mem::replace(&mut first.folder, folder());
    let second = Sidecar::start_in(moved, NO_GATEWAY, &[]);
    is_refused(&second.ask(&a_test()), "BYOK_SERVICE_UNAVAILABLE");
    assert_eq!(mode(&second.socket()), 0o600);
}

#[test]
fn of_many_that_start_at_once_one_serves() {
    let folder = folder();
    let mut children: Vec<Child> = (0..6)
        .map(|_| sidecar(folder.path(), NO_GATEWAY, &[]).stderr(Stdio::null()).spawn().expect("it starts"))
        .collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let alive = children
            .iter_mut()
            .filter_map(|child| child.try_wait().expect("a child").is_none().then_some(()));
        match alive.count() {
            1 => break,
            0 => panic!("none serves"),
            more => assert!(Instant::now() < deadline, "{more} serve"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut stream = UnixStream::connect(folder.path().join("keys.sock")).expect("it listens");
    stream.write_all(&frame(a_test().to_string().as_bytes())).expect("it reads");
    is_refused(&answer(&mut stream), "BYOK_SERVICE_UNAVAILABLE");
    for mut child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
}
