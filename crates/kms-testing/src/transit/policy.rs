//! Policies, as far as the tests write them: exact paths with lists of capabilities.

/// What is allowed where.
#[derive(Default)]
pub struct Policy(Vec<(String, Vec<String>)>);

impl Policy {
    /// What every token may that is not made otherwise.
    pub fn default_one() -> Self {
        Self::parse(
            r#"path "auth/token/lookup-self" { capabilities = ["read"] }
               path "auth/token/renew-self" { capabilities = ["update"] }"#,
        )
    }

    /// `path "…" { capabilities = ["…", …] }`, any number of times.
    pub fn parse(hcl: &str) -> Self {
        let rules = hcl.split("path ").skip(1).map(|rule| {
            let mut quoted = rule.split('"').skip(1).step_by(2).map(str::to_owned);
            (quoted.next().unwrap_or_default(), quoted.collect())
        });
        Self(rules.collect())
    }

    pub fn allows(&self, path: &str, capability: &str) -> bool {
        self.0.iter().any(|(at, may)| at == path && may.iter().any(|one| one == capability))
    }
}
