//! Whom the token is shown to: one host that has proven its name, or this machine.

use std::sync::Arc;

use keyferry_core::port::root::{Root, RootError};
use keyferry_envelope::SystemEntropy;
use keyferry_kms::{
    EndpointError,
    vault::{Vault, VaultConfigError},
};
use keyferry_kms_testing::{Bench, transit::Transit};

use crate::suite::{CONTEXT, conforms, key};

#[tokio::test]
async fn a_server_with_a_certificate_of_the_configured_authority_is_trusted() {
    let server = Transit::start_tls().await;
    let bench = Bench::small(&server, "transit").await;
    conforms(&*bench.vault()).await;
}

#[tokio::test]
async fn a_server_of_another_authority_is_shown_nothing() {
    let (server, other) = (Transit::start_tls().await, Transit::start_tls().await);
    let bench = Bench::small(&server, "transit").await;
    for ca in [other.ca().map(std::path::PathBuf::from), None] {
        let config = keyferry_kms::VaultConfig { ca, ..bench.config.clone() };
        let vault = Vault::new(&config, Arc::new(SystemEntropy)).expect("a root");
        let (requests, connections) = (server.requests(), server.connections());
        assert!(matches!(vault.wrap(&CONTEXT, &key(7)).await, Err(RootError::Away(_))));
        assert_eq!(server.requests(), requests, "no head of a request came through");
        assert_eq!(server.connections(), connections + 1, "but it was there");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_enough() {
    let server = Transit::start_tls().await;
    let bench = Bench::small(&server, "transit").await;
    let mut config = bench.config.clone();
    config.address = config.address.replace("127.0.0.1", "localhost");
    let vault = Vault::new(&config, Arc::new(SystemEntropy)).expect("a root");
    let requests = server.requests();
    assert!(matches!(vault.wrap(&CONTEXT, &key(7)).await, Err(RootError::Away(_))));
    assert_eq!(server.requests(), requests);
}

#[tokio::test]
async fn a_configuration_is_refused_with_the_value_that_is_wrong() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let refused = |change: &dyn Fn(&mut keyferry_kms::VaultConfig)| {
        let mut config = bench.config.clone();
        change(&mut config);
        Vault::new(&config, Arc::new(SystemEntropy)).err().expect("a refusal")
    };
    let plain = refused(&|config| config.address = "http://10.0.0.7:8200".to_owned());
    assert!(matches!(plain, VaultConfigError::Endpoint(EndpointError::Plaintext)));
    assert_eq!(plain.field(), "address");
    assert_eq!(refused(&|config| config.address = "vault".to_owned()).field(), "address");
    let missing = refused(&|config| {
        config.address = "https://vault.example".to_owned();
        config.ca = Some("/nowhere/ca.pem".into());
    });
    assert_eq!(missing.field(), "ca");
    let unused = refused(&|config| config.ca = Some("/nowhere/ca.pem".into()));
    assert!(matches!(unused, VaultConfigError::Endpoint(EndpointError::CaUnused)), "its address is http");
    assert_eq!(unused.field(), "ca");
    assert_eq!(refused(&|config| config.mount = "../sys".to_owned()).field(), "mount");
    assert_eq!(refused(&|config| config.key = "a/b".to_owned()).field(), "key");
    assert_eq!(refused(&|config| config.namespace = Some("a b".to_owned())).field(), "namespace");
    assert_eq!(refused(&|config| config.token_file = "/nowhere/token".into()).field(), "token_file");
}
