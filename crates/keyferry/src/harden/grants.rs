//! What a process may use: folders, files and ports, read from the configuration.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::config::{Bind, Config, RootConfig};

/// The port of HTTPS: providers, and the key sets of issuers.
const HTTPS: u16 = 443;
/// The port of name servers, for answers that do not fit a datagram.
const DNS: u16 = 53;

/// What the system's libraries read: names, certificates, the numbers of processors, and the
/// modules that are loaded while the program runs.
const SYSTEM: [&str; 20] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/localtime",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/proc/self",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
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
        grants.write.extend(folders(&config.database));
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
                self.read.extend(folders(&vault.token_file));
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
        self.read.extend(files.into_iter().filter_map(path).flat_map(|file| folders(&file)));
        let shared = path("AWS_SHARED_CREDENTIALS_FILE");
        let usual = path("HOME").map(|home| home.join(".aws/credentials"));
        self.read.extend(shared.into_iter().chain(usual).flat_map(|file| folders(&file)));
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

    /// Everything that may be read, the system's part included.
    pub(super) fn readable(&self) -> impl Iterator<Item = &Path> {
        SYSTEM.iter().map(Path::new).chain(self.read.iter().map(PathBuf::as_path))
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
fn folders(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let target = std::fs::canonicalize(path).ok().map(|target| folder(&target));
    std::iter::once(folder(path)).chain(target)
}

/// The folder of a file.
fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
