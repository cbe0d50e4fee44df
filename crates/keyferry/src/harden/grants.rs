//! What a process may use: folders, files and ports, read from the configuration.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use keyferry_storage::Backend;

use crate::config::{Bind, Config, Counters, RootConfig};

/// The port of HTTPS: providers, and the key sets of issuers.
const HTTPS: u16 = 443;
/// The port of name servers, for answers that do not fit a datagram.
const DNS: u16 = 53;

/// What the system's libraries read: names, the numbers of processors, and the modules that are
/// loaded while the program runs. No certificates: the roots of TLS are in the program, and others are
/// named by the configuration. Private keys would lie beside them.
const SYSTEM: [&str; 16] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/proc/self",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
];

/// The list of name servers, which programs of the system replace.
const NAME_SERVERS: &str = "/etc/resolv.conf";

/// Folders that hold what belongs to others.
const SHARED: [&str; 12] = [
    "/", "/dev/shm", "/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/var", "/var/lib", "/var/tmp",
];

/// What a process may use. Nothing may be executed.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// Files and folders that may be read, beside what the system's libraries need.
    pub read: Vec<PathBuf>,
    /// A hardware module is loaded, which opens devices, files, sockets and connections that only its
    /// maker knows: none of these is restricted.
    pub module: bool,
    /// Folders in which files may be made, read, written and removed.
    pub write: Vec<PathBuf>,
    /// Folders in which Unix sockets may be made and removed.
    pub sockets: Vec<PathBuf>,
    /// TCP ports that may be connected to.
    pub connect: BTreeSet<u16>,
    /// TCP ports that may be bound; `None`: any, because the system chooses one.
    pub bind: Option<BTreeSet<u16>>,
}

impl Grants {
    /// What `keyferry serve` needs for a configuration. It must name everything that is opened
    /// after the configuration was read: each new setting with a path or a port belongs here.
    pub fn of_gateway(config: &Config) -> Self {
        let mut grants = Self { bind: bound(config), ..Self::default() };
        grants.write.push(config.data_dir.clone());
        // SQLite keeps its log beside the file that a link leads to.
        match &config.storage {
            Backend::Sqlite(file) => grants.write.extend(folders(file)),
            Backend::Postgres(address) => {
                grants.connect.insert(address.port());
                grants.read.extend(address.files().iter().cloned());
            }
        }
        if let Counters::Redis { address, ca } = &config.counters {
            grants.connect.extend(address.port());
            grants.read.extend(ca.clone());
        }
        for root in config.kms.roots() {
            grants.add_root(root);
        }
        grants.read.extend(config.upstream.extra_ca.clone());
        for listener in &config.listeners {
            if let Bind::Unix(path) = &listener.bind {
                grants.sockets.push(folder(path));
            }
            if let Some(tls) = &listener.tls {
                grants.read.extend([tls.cert.clone(), tls.key.clone()]);
            }
        }
        grants.connect.extend([HTTPS, DNS]);
        grants.connect.extend(config.upstream.dial.iter().map(|dial| dial.address.port()));
        grants.connect.extend(config.upstream.nameservers.iter().map(|server| server.port()));
        grants
    }

    /// What a root needs. A file that is replaced by another one of its name is allowed by its folder, and
    /// by that of the file which it is a link to. A file that is allowed itself may be a link.
    fn add_root(&mut self, root: &RootConfig) {
        match root {
            RootConfig::Local(secret) => self.read.push(secret.path().clone()),
            RootConfig::Vault(vault) => {
                self.read.extend(renewed(&vault.token_file));
                self.read.extend(vault.ca.clone());
                self.connect.extend(keyferry_kms::port_of(&vault.address));
            }
            RootConfig::Aws(aws) => {
                self.read.extend(aws.ca.clone());
                self.add_aws_credentials();
                self.connect.extend(aws.endpoint.as_deref().and_then(keyferry_kms::port_of));
            }
            RootConfig::Pkcs11(_) => self.module = true,
        }
    }

    /// Where credentials for AWS may come from. Containers and machines give theirs over plain HTTP.
    fn add_aws_credentials(&mut self) {
        let path = |name| std::env::var_os(name).map(PathBuf::from);
        let files = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];
        self.read.extend(files.into_iter().filter_map(path).flat_map(|file| renewed(&file)));
        let shared = path("AWS_SHARED_CREDENTIALS_FILE");
        let usual = path("HOME").map(|home| home.join(".aws/credentials"));
        self.read.extend(shared.into_iter().chain(usual).flat_map(|file| renewed(&file)));
        let endpoint = std::env::var("AWS_CONTAINER_CREDENTIALS_FULL_URI").ok();
        self.connect.extend([80]);
        self.connect.extend(endpoint.and_then(|url| url.parse::<http::Uri>().ok()?.port_u16()));
    }

    /// What `keyferry sidecar` needs, once its socket is bound and its token read: to reach the
    /// gateway, and to remove the socket.
    pub fn of_sidecar(socket: &Path, gateway_port: u16) -> Self {
        Self {
            sockets: vec![folder(socket)],
            connect: BTreeSet::from([gateway_port, DNS]),
            bind: Some(BTreeSet::new()),
            ..Self::default()
        }
    }

    /// Folders that may be written to and hold what belongs to others.
    pub fn too_wide(&self) -> BTreeSet<&Path> {
        self.write.iter().map(PathBuf::as_path).filter(|folder| is_shared(folder)).collect()
    }

    /// Everything that may be read, the system's part included.
    pub(super) fn readable(&self) -> impl Iterator<Item = PathBuf> {
        let system = SYSTEM.iter().map(PathBuf::from).chain(elsewhere(Path::new(NAME_SERVERS)));
        system.chain(self.read.iter().cloned())
    }
}

/// The ports of the listeners, unless one is left to the system.
fn bound(config: &Config) -> Option<BTreeSet<u16>> {
    let ports = config.listeners.iter().filter_map(|listener| match &listener.bind {
        Bind::Tcp(address) => Some(address.port()),
        Bind::Unix(_) => None,
    });
    let ports: BTreeSet<u16> = ports.collect();
    (!ports.contains(&0)).then_some(ports)
}

/// The folder of a file, and of the file that it is a link to.
fn folders(path: &Path) -> [PathBuf; 2] {
    [folder(path), folder(&end_of_links(path))]
}

/// What a file needs that is replaced by another one of its name: its folder, so that the new one may be
/// read too. A folder with what belongs to others is too much for that: there it is the file alone, as it
/// is now.
fn renewed(path: &Path) -> [PathBuf; 2] {
    folders(path).map(|folder| if is_shared(&folder) { path.to_owned() } else { folder })
}

/// The folder that a link leads to, if it is another one than the link's and holds nothing else.
fn elsewhere(link: &Path) -> Option<PathBuf> {
    let there = std::fs::canonicalize(folder(&end_of_links(link))).ok()?;
    (there != folder(link) && !is_shared(&there)).then_some(there)
}

/// Where a link leads, although nothing may be there yet.
fn end_of_links(path: &Path) -> PathBuf {
    let mut end = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = std::fs::read_link(&end) else { break };
        end = folder(&end).join(target);
    }
    end
}

/// As many as the kernel follows.
const MAX_LINKS: u32 = 40;

/// Whether a folder holds what belongs to others: one of the system's, or somebody's home.
fn is_shared(folder: &Path) -> bool {
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    SHARED.iter().any(|shared| folder == Path::new(shared)) || folder.parent() == Some(Path::new("/home"))
}

/// The folder of a file.
fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn no_private_keys_of_the_system_may_be_read() {
        let grants = Grants::default();
        for private in ["/etc/ssl/private/key.pem", "/etc/pki/tls/private/key.pem"] {
            let granted = grants.readable().find(|path| Path::new(private).starts_with(path));
            assert_eq!(granted, None, "{private}");
        }
    }

    #[test]
    fn a_token_in_a_folder_that_others_use_is_granted_alone() {
        for shared in ["/root/.vault-token", "/run/token", "/home/somebody/token", "/etc/../etc/token"] {
            assert_eq!(renewed(Path::new(shared)), [shared, shared].map(PathBuf::from), "{shared}");
        }
        let own = tempfile::tempdir().expect("a folder");
        assert_eq!(renewed(&own.path().join("token"))[0], own.path());
        let link = own.path().join("link");
        symlink("/root/.vault-token", &link).expect("a link");
        assert_eq!(renewed(&link), [own.path().to_owned(), link]);
    }

    #[test]
    fn a_link_grants_the_folder_that_it_leads_to_before_anything_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let (there, link) = (folder.path().join("there"), folder.path().join("link"));
        fs::create_dir(&there).expect("a folder");
        symlink("there/new.db", &link).expect("a link");
        assert_eq!(folders(&link), [folder.path().to_owned(), there.clone()]);
        assert_eq!(elsewhere(&link), Some(fs::canonicalize(&there).expect("it is there")));
        // A file that is no link, and a link into a folder of many.
        fs::write(there.join("file"), "").expect("a file");
        assert_eq!(elsewhere(&there.join("file")), None);
        let wide = folder.path().join("wide");
        symlink("/run/resolv.conf", &wide).expect("a link");
        assert_eq!(elsewhere(&wide), None);
    }
}
