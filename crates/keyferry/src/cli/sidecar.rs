//! `keyferry sidecar`

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use keyferry_core::{clock::SystemClock, id::TenantId};
use keyferry_envelope::SystemEntropy;
use tokio::signal::unix::{SignalKind, signal};

use super::{runtime, secret};
use crate::{
    harden::{Grants, confine},
    sidecar::{
        control::{Control, port_of},
        serve::{Desk, serve},
    },
    socket::{Socket, bind, policy::Policy},
    telemetry::logs::{self, LogFormat, LogLevel},
};

/// Take keys over a Unix socket, seal them at once, and pass them on to the gateway.
#[derive(clap::Args)]
pub(super) struct Sidecar {
    /// Where to listen.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// The gateway's address: https://…, or http:// with a loopback address.
    #[arg(long, env = "KEYFERRY_URL", value_name = "URL")]
    gateway: String,
    /// A file with the token to use there.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// The operator's public key (PEM): only a list of sealing keys that it signed is used.
    #[arg(long, value_name = "FILE")]
    signed_by: Option<PathBuf>,
    /// The only tenant whose keys are taken.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// A user that may connect, by number. Without any user or group: the own one.
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,
    /// A group that may connect, by number: the one that a process runs with, which is its user's primary
    /// one. Further groups are not seen.
    #[arg(long, value_name = "GID")]
    allow_gid: Vec<u32>,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t, env = "KEYFERRY_LOG_FORMAT")]
    log_format: LogFormat,
    /// How much is logged.
    #[arg(long, value_enum, default_value_t, env = "KEYFERRY_LOG_LEVEL")]
    log_level: LogLevel,
}

impl Sidecar {
    pub(super) fn run(self) -> anyhow::Result<()> {
        logs::start(self.log_format, self.log_level);
        logs::of_panics();
        let port = port_of(&self.gateway)?;
        let token = secret::from_private_file(&self.token_file).context("--token-file")?;
        let operator = self.signed_by.as_deref().map(super::seal::operator).transpose()?;
        if operator.is_none() {
            tracing::warn!(
                event = "sealing_keys_unsigned",
                "keys are sealed to whatever list the gateway's address answers with: give --signed-by"
            );
        }
        let own = rustix::process::geteuid().as_raw();
        let policy = Policy::new(&self.allow_uid, &self.allow_gid, own);
        let path = std::path::absolute(&self.socket).context("--socket")?;
        let Socket { listener, place } = bind(&path, &policy, &SystemEntropy).context("--socket")?;
        confine(&Grants::of_sidecar(&path, port))?.log();
        logs::let_lines_wait();
        let control = Control {
            gateway: self.gateway,
            token,
            operator,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        };
        let desk = Arc::new(Desk { policy, only: self.tenant, control });
        let ended = runtime()?.block_on(async {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            tracing::info!(event = "sidecar_started", socket = %path.display());
            let stop = async {
                let which = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                tracing::info!(event = "draining", signal = which);
            };
            serve(listener, place, desk, stop).await;
            tracing::info!(event = "stopped");
            Ok(())
        });
        logs::flush();
        ended
    }
}
