//! Maps that every request looks into.

/// A hash map with a hash that is cheap. It is seeded anew in each process, but whoever could choose many keys and measure
/// each look-up might still find some that collide: it is for keys that exist because an operator or a tenant's
/// administrator made them, or that are bounded in number.
pub type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
