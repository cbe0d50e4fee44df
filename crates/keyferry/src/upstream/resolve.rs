//! Names to addresses: an own stub resolver, asked for the absolute name and nothing else.
//!
//! No hosts file, no search list, no HTTPS records, no proxy environment: what the name servers
//! say about exactly this name, judged as a whole. One address that is not public condemns all.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    system_conf::read_system_conf,
};
use keyferry_core::net::{address::check_answers, host::ProviderHost};

use super::UpstreamError;

/// Resolves the hosts of providers.
pub(super) struct Names(Option<TokioResolver>);

impl Names {
    /// Over these name servers, or the system's. Without any, every name fails to resolve.
    pub(super) fn new(nameservers: &[SocketAddr]) -> Self {
        let servers = if nameservers.is_empty() { system() } else { given(nameservers) };
        if servers.is_empty() {
            return Self(None);
        }
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.positive_min_ttl = Some(Duration::from_secs(5));
        options.positive_max_ttl = Some(Duration::from_secs(60));
        options.negative_max_ttl = Some(Duration::from_secs(5));
        options.case_randomization = nameservers.is_empty();
        options.timeout = Duration::from_secs(2);
        options.attempts = 1;
        Self(builder.build().ok())
    }

    /// All addresses of a host, each of them public.
    pub(super) async fn addresses(&self, host: &ProviderHost) -> Result<Vec<IpAddr>, UpstreamError> {
        let resolver = self.0.as_ref().ok_or(UpstreamError::Dns)?;
        let absolute = format!("{host}.");
        let lookup = resolver.lookup_ip(absolute).await.map_err(|_| UpstreamError::Dns)?;
        let answers: Vec<IpAddr> = lookup.iter().collect();
        if answers.is_empty() {
            return Err(UpstreamError::Dns);
        }
        check_answers(&answers).map_err(UpstreamError::AddressRefused)?;
        Ok(answers)
    }
}

fn system() -> Vec<NameServerConfig> {
    read_system_conf().map(|(config, _)| config.name_servers().to_vec()).unwrap_or_default()
}

fn given(nameservers: &[SocketAddr]) -> Vec<NameServerConfig> {
    nameservers
        .iter()
        .map(|server| {
            let mut udp = ConnectionConfig::udp();
            let mut tcp = ConnectionConfig::tcp();
            udp.port = server.port();
            tcp.port = server.port();
            NameServerConfig::new(server.ip(), true, vec![udp, tcp])
        })
        .collect()
}
