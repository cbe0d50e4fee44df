//! The command line: one module a command.

pub(crate) mod api;
mod audit;
mod config;
mod credential;
mod demo;
mod doctor;
mod issuer;
mod kek;
mod migrate;
mod openapi;
mod output;
mod seal;
mod sealing_key;
mod secret;
mod serve;
mod sidecar;
mod store;
mod tenant;
mod token;
mod upstream;

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, thread::available_parallelism};

use clap::{Parser, Subcommand};
use keyferry_core::mask;

use crate::harden::harden;

/// A bring-your-own-key gateway for AI providers.
///
/// It keeps people's OpenAI, Anthropic and Gemini keys and carries their requests to the provider,
/// without a key ever leaking.
#[derive(Parser)]
#[command(name = "keyferry", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::Serve),
    /// Show the main job, step by step, against a provider inside the program.
    Demo(demo::Demo),
    /// Take keys over a Unix socket, seal them at once, and pass them on to the gateway.
    Sidecar(sidecar::Sidecar),
    /// Look at what keeps keys safe here, and say what does not hold.
    Doctor(doctor::Doctor),
    /// Bring the tables of the store up to date, or copy everything from SQLite into PostgreSQL.
    Migrate(migrate::Migrate),
    /// Look at a configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Print the OpenAPI document of the control plane.
    Openapi,
    /// Look at what may be called.
    #[command(subcommand)]
    Upstream(upstream::Command),
    /// Check or export the audit log.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Look at, replace and move to the keys that wrap the stored keys.
    #[command(subcommand)]
    Kek(kek::Command),
    /// Make, sign and replace the keys that clients seal to.
    #[command(subcommand)]
    SealingKey(sealing_key::Command),
    /// Seal a provider key to the gateway, so that nothing in between can read it.
    Seal(seal::Seal),
    /// Manage tenants.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Manage the provider keys of a tenant. Keys are read from standard input.
    #[command(subcommand)]
    Credential(credential::Command),
    /// Manage the gateway tokens of a tenant.
    #[command(subcommand)]
    Token(token::Command),
    /// Manage the issuers whose JWTs a tenant accepts.
    #[command(subcommand)]
    Issuer(issuer::Command),
}

/// The configuration file.
#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file. Without one, the defaults.
    #[arg(long, env = "KEYFERRY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the program.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // The parser quotes what it does not understand, and that may be a key.
            output::error_line(&masked(&error.to_string()));
            return ExitCode::from(2);
        }
        Err(help) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    // Each command may come to hold a key. The doctor first looks into others, then does it itself.
    let hardened = if matches!(cli.command, Command::Doctor(_)) { Ok(()) } else { harden() };
    match hardened.map_err(anyhow::Error::from).and_then(|()| cli.command.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error_line(&format!("keyferry: {}", masked(&format!("{error:#}"))));
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Serve(command) => command.run(),
            Self::Demo(command) => command.run(),
            Self::Sidecar(command) => command.run(),
            Self::Doctor(command) => command.run(),
            Self::Migrate(command) => command.run(),
            Self::Config(command) => command.run(),
            Self::Openapi => {
                openapi::run();
                Ok(())
            }
            Self::Upstream(command) => command.run(),
            Self::Audit(command) => command.run(),
            Self::Kek(command) => command.run(),
            Self::SealingKey(command) => command.run(),
            Self::Seal(command) => command.run(),
            Self::Tenant(command) => command.run(),
            Self::Credential(command) => command.run(),
            Self::Token(command) => command.run(),
            Self::Issuer(command) => command.run(),
        }
    }
}

/// Text without what looks like a key: messages quote what they are about.
fn masked(text: &str) -> String {
    String::from_utf8_lossy(&mask::scrub(text.as_bytes(), None)).into_owned()
}

/// A runtime for commands that need one. What the gateway serves has [others](crate::workers); this one has several threads there too, so
/// that a disk that holds up one of them keeps nobody from hearing a signal.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let threads = processors().get().max(2);
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}

/// As many as there are processors.
fn processors() -> NonZeroUsize {
    available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
