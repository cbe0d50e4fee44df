//! Names, base URLs and targets: what passes is what two other readers of URLs find in it, and is written as it is read.
#![no_main]

use keyferry_core::net::{base_url::BaseUrl, host::ProviderHost, target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        host(text);
        base(text);
        for (name, value) in target::query_pairs(text) {
            assert!(name.len() + value.len() <= text.len());
        }
    }
    if target::check(data).is_ok() {
        passed(std::str::from_utf8(data).expect("ASCII"));
    }
});

fn host(text: &str) {
    let Ok(host) = ProviderHost::parse(text) else { return };
    assert_eq!(host.as_str(), text);
    assert!(text.parse::<std::net::IpAddr>().is_err());
    match url::Host::parse(text) {
        Ok(url::Host::Domain(domain)) => assert_eq!(domain, text),
        // Of A-labels the WHATWG wants more: rules of scripts and directions.
        Err(_) => assert!(text.contains("xn--")),
        other => panic!("not a name to the WHATWG: {other:?}"),
    }
}

fn base(text: &str) {
    let Ok(base) = BaseUrl::parse(text) else { return };
    let written = base.to_string();
    assert_eq!(BaseUrl::parse(&written).as_ref(), Ok(&base));
    let origin = base.origin();
    assert!(written.starts_with(&origin));

    let Ok(whatwg) = url::Url::parse(text) else { return assert!(written.contains("xn--")) };
    assert_eq!(whatwg.scheme(), "https");
    assert_eq!(whatwg.host_str(), Some(base.host().as_str()));
    assert_eq!((whatwg.port_or_known_default(), whatwg.username(), whatwg.password()), (Some(443), "", None));
    assert_eq!(whatwg.path().trim_end_matches('/'), base.path());
    assert_eq!((whatwg.query(), whatwg.fragment()), (None, None));

    let uri: http::Uri = text.parse().expect("a URI to RFC 3986");
    assert_eq!(uri.host().map(str::to_ascii_lowercase).as_deref(), Some(base.host().as_str()));
    assert_eq!(uri.path().trim_end_matches('/'), base.path());
}

fn passed(text: &str) {
    let uri: http::Uri = text.parse().expect("a target to RFC 3986");
    assert!(uri.authority().is_none() && uri.scheme().is_none());
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    assert_eq!((uri.path(), uri.query()), (path, query));

    let whatwg =
        url::Url::parse("https://gateway.example").unwrap().join(text).expect("a target to the WHATWG");
    assert_eq!(whatwg.host_str(), Some("gateway.example"));
    assert_eq!(whatwg.path(), path);
    // What names a credential when it is decoded does not pass.
    for (name, _) in whatwg.query_pairs() {
        let folded: String =
            name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        assert!(
            !["key", "apikey", "token", "accesstoken", "authorization"].contains(&folded.as_str()),
            "{name}"
        );
    }
}
