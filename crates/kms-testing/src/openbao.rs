//! A real OpenBao in development mode: in memory, on loopback, behind TLS.

use std::{
    env,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    Operator,
    pause::{pause, resume},
    transit::ROOT,
};

/// A running server; killed when dropped.
pub struct OpenBao {
    child: Child,
    _folder: tempfile::TempDir,
    pub operator: Operator,
}

impl OpenBao {
    /// Starts it, or says on standard error that the test is skipped.
    pub async fn start(test: &str) -> Option<Self> {
        let Some(bao) = on_the_path() else {
            // Past the test harness, which would keep it to itself.
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: there is no `bao` on the PATH");
            return None;
        };
        // It takes the next port too; if somebody was faster with either, it ends.
        for _ in 0..5 {
            let mut server = Self::spawned(&bao);
            if server.is_ready().await {
                return Some(server);
            }
        }
        panic!("bao does not start");
    }

    fn spawned(bao: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let child = Command::new(bao)
            .args(["server", "-dev", "-dev-no-store-token", "-dev-tls"])
            .arg(format!("-dev-tls-cert-dir={}", folder.path().display()))
            .arg(format!("-dev-root-token-id={ROOT}"))
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .env("HOME", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bao starts");
        let operator = Operator {
            address: format!("https://127.0.0.1:{port}"),
            ca: Some(folder.path().join("vault-ca.pem")),
            token: ROOT.to_owned(),
            namespace: None,
        };
        Self { child, _folder: folder, operator }
    }

    /// Stops it where it is: it is there, and answers nothing.
    pub fn pause(&self) {
        pause(&self.child);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        resume(&self.child);
    }

    /// Waits until it answers; `false` if it has ended instead.
    async fn is_ready(&mut self) -> bool {
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if let Ok((200, _)) = self.operator.try_ask("GET", "sys/health", &Value::Null).await {
                return true;
            }
            if self.child.try_wait().expect("the process can be asked").is_some() {
                return false;
            }
        }
        panic!("bao is not ready after a minute");
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn on_the_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join("bao")).find(|file| file.is_file())
}
