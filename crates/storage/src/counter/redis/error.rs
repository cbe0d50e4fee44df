//! Why a Redis cannot be used for counters. Nothing in it was said by the server.

/// Why a Redis cannot be used for counters.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RedisError {
    /// It is not there, or not in time: trying again may help.
    #[error("Redis is away: {0}")]
    Away(&'static str),
    /// Its certificate is not good for its name.
    #[error(
        "the certificate of the Redis server is not one for its host name by an authority that is trusted"
    )]
    Tls,
    /// The host is none that a certificate could be for.
    #[error("the host of the Redis server is no name that a certificate could be for")]
    Name,
    /// The authority's file cannot be read.
    #[error("the file of the authority for Redis holds no certificate in PEM form that can be read")]
    Ca,
    /// An authority without TLS.
    #[error("an authority for Redis is given, but the URL does not begin with `rediss://`")]
    CaWithoutTls,
    /// It does not know the user, or not by this password.
    #[error("the Redis server refuses the user or the password")]
    Login,
    /// It asks for a password and was given none.
    #[error("the Redis server asks for a password: the URL has none")]
    NoLogin,
    /// The user may not do what is needed.
    #[error(
        "the Redis server does not permit its user what is needed: INFO, SCRIPT LOAD, EVAL, EVALSHA and the commands \
         of the scripts, on keys that begin with `kf:`"
    )]
    Permission,
    /// There is no such database.
    #[error("the Redis server has no database of this number")]
    Database,
    /// It is too old.
    #[error("the Redis server is too old: at least Redis 6.2 or Valkey is needed")]
    Version,
    /// It may forget used token ids.
    #[error(
        "the Redis server may drop keys when its memory is full, and would forget which tokens were used: set \
         `maxmemory-policy noeviction`"
    )]
    Policy,
    /// It is a replica.
    #[error("the Redis server is a replica: the URL must lead to the master")]
    Replica,
    /// It is part of a cluster, or a sentinel.
    #[error(
        "the Redis server is part of a cluster or a sentinel: one master, with or without replicas, is needed"
    )]
    Cluster,
    /// It answers as no Redis does.
    #[error("what answers there is no Redis")]
    Garbage,
}
