//! Everything the server remembers, and which request reaches which part.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    engine::Engine,
    http::{Reply, Request},
    policy::Policy,
    token::{Tokens, denied},
};

pub struct State {
    namespaces: BTreeSet<String>,
    engines: BTreeMap<String, Engine>,
    policies: BTreeMap<String, Policy>,
    default_policy: Policy,
    tokens: Tokens,
}

impl State {
    pub fn new(root: &str) -> Self {
        Self {
            namespaces: BTreeSet::new(),
            engines: BTreeMap::new(),
            policies: BTreeMap::new(),
            default_policy: Policy::default_one(),
            tokens: Tokens::new(root),
        }
    }

    pub fn answer(&mut self, request: &Request) -> Reply {
        let header = |name| request.headers.get(name).map_or("", String::as_str);
        let namespace = header("x-vault-namespace").trim_matches('/');
        if !namespace.is_empty() && !self.namespaces.contains(namespace) {
            return Reply::error(404, "namespace not found");
        }
        let Some(path) = request.path.strip_prefix("/v1/") else { return Reply::error(404, "no route") };
        let path = if namespace.is_empty() { path.to_owned() } else { format!("{namespace}/{path}") };
        let token = header("x-vault-token").to_owned();
        let body = match request.body.as_slice() {
            [] => Value::Null,
            body => match serde_json::from_slice(body) {
                Ok(body) => body,
                Err(_) => return Reply::error(400, "failed to decode JSON input"),
            },
        };
        if self.tokens.find(&token).is_none() {
            return denied();
        }
        if !self.may(&token, &request.method, &path) {
            return Reply::error(403, "1 error occurred:\n\t* permission denied\n\n");
        }
        self.system(&request.method, &path, &token, &body)
            .or_else(|| self.engine(&request.method, &path, &body))
            .unwrap_or_else(|| {
                let (_, path) = self.inside(&path);
                let told = format!("no handler for route \"{path}\". route entry not found.");
                Reply::error(404, &told)
            })
    }

    fn may(&self, token: &str, method: &str, path: &str) -> bool {
        let Some(token) = self.tokens.find(token) else { return false };
        let encrypts_anew = self.place(path).is_some_and(|(mount, work)| {
            work.strip_prefix("encrypt/").is_some_and(|key| !self.engines[mount].has(key))
        });
        let capability = match method {
            "GET" => "read",
            _ if encrypts_anew => "create",
            _ => "update",
        };
        if token.policies.iter().any(|name| name == "root") {
            return true;
        }
        let Some(path) = path.strip_prefix(&token.namespace) else { return false };
        token.policies.iter().any(|name| {
            let policy = match name.as_str() {
                "default" => Some(&self.default_policy),
                name => self.policies.get(&format!("{}{name}", token.namespace)),
            };
            policy.is_some_and(|policy| policy.allows(path, capability))
        })
    }

    fn system(&mut self, method: &str, path: &str, token: &str, body: &Value) -> Option<Reply> {
        let (prefix, path) = self.inside(path);
        let parts: Vec<&str> = path.split('/').collect();
        Some(match (method, parts.as_slice()) {
            ("POST", ["sys", "mounts", mount @ ..]) => {
                self.engines.insert(format!("{prefix}{}", mount.join("/")), Engine::default());
                Reply::nothing()
            }
            ("POST", ["sys", "namespaces", name]) => {
                self.namespaces.insert((*name).to_owned());
                Reply::data(&json!({
                    "custom_metadata": {}, "id": "id", "locked": false, "path": format!("{name}/"),
                    "tainted": false, "uuid": "uuid",
                }))
            }
            ("POST", ["sys", "policies", "acl", name]) => {
                let policy = Policy::parse(body["policy"].as_str().unwrap_or_default());
                self.policies.insert(format!("{prefix}{name}"), policy);
                Reply::nothing()
            }
            ("POST", ["auth", "token", "create"]) => self.tokens.create(prefix, body),
            ("POST", ["auth", "token", "revoke"]) => {
                self.tokens.revoke(body["token"].as_str().unwrap_or_default())
            }
            ("GET", ["auth", "token", "lookup-self"]) => self.tokens.look_up(token),
            ("POST", ["auth", "token", "renew-self"]) => self.tokens.renew(token),
            _ => return None,
        })
    }

    fn engine(&mut self, method: &str, path: &str, body: &Value) -> Option<Reply> {
        let (mount, work) = self.place(path)?;
        let (mount, work) = (mount.to_owned(), work.split('/').collect::<Vec<_>>());
        let engine = self.engines.get_mut(&mount)?;
        if method != "POST" {
            return Some(Reply::error(405, "1 error occurred:\n\t* unsupported operation\n\n"));
        }
        Some(match work.as_slice() {
            ["keys", name] => engine.create(name, body),
            ["keys", name, "rotate"] => engine.rotate(name),
            ["keys", name, "config"] => engine.configure(name, body),
            ["encrypt", name] => engine.encrypt(name, body),
            ["decrypt", name] => engine.decrypt(name, body),
            ["rewrap", name] => engine.rewrap(name, body),
            _ => return None,
        })
    }

    /// The namespace that a path is in, with a slash at the end, and what is left.
    fn inside<'a>(&self, path: &'a str) -> (String, &'a str) {
        let inside = self.namespaces.iter().find_map(|namespace| {
            Some((format!("{namespace}/"), path.strip_prefix(namespace.as_str())?.strip_prefix('/')?))
        });
        inside.unwrap_or((String::new(), path))
    }

    /// The mount that a path is below, and what is left.
    fn place<'a>(&self, path: &'a str) -> Option<(&'a str, &'a str)> {
        self.engines.keys().find_map(|mount| {
            let rest = path.strip_prefix(mount.as_str())?.strip_prefix('/')?;
            Some((&path[..mount.len()], rest))
        })
    }
}
