//! The caller: who sends a request, proven.

use std::sync::Arc;

use crate::{
    id::{IssuerId, TenantId},
    limits::Rate,
    port::counter::Claim,
    token::{Role, Token},
};

/// An authenticated user of a token, for the length of one request.
#[derive(Debug)]
pub struct Caller {
    tenant: TenantId,
    name: Arc<str>,
    pub(super) grant: Grant,
}

/// What the caller showed.
#[derive(Debug)]
pub enum Grant {
    /// A gateway token.
    Token {
        /// What it may do.
        role: Role,
        /// The only models it may use.
        models: Option<Vec<String>>,
        /// A rate of its own.
        rate: Option<Rate>,
    },
    /// A JWT of an issuer that the tenant registered.
    Jwt {
        /// The issuer.
        issuer: IssuerId,
        /// Its one use.
        claim: Claim,
        /// What it says about having a key. Decides nothing.
        claims_byok: bool,
        /// The body it was made for, `sha256:<hex>`.
        req_hash: Option<String>,
    },
}

impl Caller {
    /// The bearer of a live gateway token.
    pub fn of_token(token: &Token) -> Self {
        Self {
            tenant: token.tenant.clone(),
            name: token.id.shared(),
            grant: Grant::Token { role: token.role, models: token.models.clone(), rate: token.rate },
        }
    }

    /// The bearer of a verified JWT.
    pub fn of_jwt(tenant: TenantId, subject: &str, grant: Grant) -> Self {
        let name = match &grant {
            Grant::Jwt { issuer, .. } => format!("{issuer}:{subject}").into(),
            Grant::Token { .. } => subject.into(),
        };
        Self { tenant, name, grant }
    }

    /// Whose request it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// A token id, or issuer and subject.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it showed.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The only models it may use.
    pub fn models(&self) -> Option<&[String]> {
        match &self.grant {
            Grant::Token { models, .. } => models.as_deref(),
            Grant::Jwt { .. } => None,
        }
    }

    /// A rate of its own.
    pub fn rate(&self) -> Option<Rate> {
        match &self.grant {
            Grant::Token { rate, .. } => *rate,
            Grant::Jwt { .. } => None,
        }
    }

    /// The body the request must have.
    pub fn req_hash(&self) -> Option<&str> {
        match &self.grant {
            Grant::Jwt { req_hash, .. } => req_hash.as_deref(),
            Grant::Token { .. } => None,
        }
    }

    pub(super) fn claims_byok(&self) -> bool {
        matches!(self.grant, Grant::Jwt { claims_byok: true, .. })
    }
}
