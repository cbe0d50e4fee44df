//! Tokens: made, looked up, renewed, revoked, and gone when their time is over.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aws_lc_rs::rand;
use serde_json::{Value, json};

use super::http::Reply;

pub struct Token {
    /// Where it was made, with a slash at the end; its policies are those of there.
    pub namespace: String,
    pub policies: Vec<String>,
    ttl: u64,
    renewable: bool,
    ends: Option<Instant>,
}

pub struct Tokens(HashMap<String, Token>);

impl Tokens {
    pub fn new(root: &str) -> Self {
        let token = Token {
            namespace: String::new(),
            policies: vec!["root".to_owned()],
            ttl: 0,
            renewable: false,
            ends: None,
        };
        Self(HashMap::from([(root.to_owned(), token)]))
    }

    pub fn find(&self, id: &str) -> Option<&Token> {
        self.0.get(id).filter(|token| token.ends.is_none_or(|end| Instant::now() < end))
    }

    pub fn create(&mut self, namespace: String, wanted: &Value) -> Reply {
        let mut policies = vec!["default".to_owned()];
        let named = wanted["policies"].as_array().into_iter().flatten();
        policies.extend(named.filter_map(|name| name.as_str().map(str::to_owned)));
        let ttl =
            wanted["ttl"].as_str().and_then(|ttl| ttl.strip_suffix('s')?.parse().ok()).unwrap_or(2_764_800);
        let renewable = wanted["renewable"].as_bool().unwrap_or(true);
        let mut random = [0; 16];
        rand::fill(&mut random).expect("random bytes");
        let id = format!("s.{}", hex(&random));
        let ends = Some(Instant::now() + Duration::from_secs(ttl));
        let token = Token { namespace, policies, ttl, renewable, ends };
        let reply = Reply::whole(&Value::Null, &token.auth(&id));
        self.0.insert(id, token);
        reply
    }

    pub fn revoke(&mut self, id: &str) -> Reply {
        self.0.remove(id);
        Reply::nothing()
    }

    pub fn look_up(&self, id: &str) -> Reply {
        self.find(id).map_or_else(denied, |token| Reply::data(&token.data(id)))
    }

    pub fn renew(&mut self, id: &str) -> Reply {
        let Some(token) = self.0.get_mut(id) else { return denied() };
        if !token.renewable {
            return Reply::error(400, "lease is not renewable");
        }
        token.ends = Some(Instant::now() + Duration::from_secs(token.ttl));
        Reply::whole(&Value::Null, &token.auth(id))
    }
}

impl Token {
    fn auth(&self, id: &str) -> Value {
        json!({
            "client_token": id, "accessor": "accessor", "policies": self.policies,
            "token_policies": self.policies, "metadata": null, "lease_duration": self.ttl,
            "renewable": self.renewable, "entity_id": "", "token_type": "service", "orphan": false,
            "mfa_requirement": null, "num_uses": 0,
        })
    }

    fn data(&self, id: &str) -> Value {
        let left = self.ends.map_or(0, |end| end.saturating_duration_since(Instant::now()).as_secs());
        let ends = self.ends.map(|_| "2026-01-01T00:00:00Z");
        json!({
            "accessor": "accessor", "creation_time": 0, "creation_ttl": self.ttl, "display_name": "token",
            "entity_id": "", "expire_time": ends, "explicit_max_ttl": 0, "id": id,
            "issue_time": "2026-01-01T00:00:00Z", "meta": null, "num_uses": 0, "orphan": false,
            "path": "auth/token/create", "policies": self.policies, "renewable": self.renewable,
            "ttl": left, "type": "service",
        })
    }
}

pub fn denied() -> Reply {
    Reply::error(403, "permission denied")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
