//! `${NAME}` inside values: replaced by the environment variable, before anything is checked.

use serde_json::Value;

use super::ConfigError;

/// Replaces each `${NAME}` in every text of the tree. `$$` stands for one `$`.
pub fn interpolate(
    value: &mut Value,
    path: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(), ConfigError> {
    match value {
        Value::String(text) if text.contains('$') => {
            *text = replace(text, env).map_err(|message| ConfigError::at(path, message))?;
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                interpolate(item, &format!("{path}[{at}]"), env)?;
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                interpolate(field, &path, env)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn replace(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let end = after.find('}').ok_or("`${` without `}`")?;
            let name = &after[..end];
            out.push_str(&env(name).ok_or_else(|| {
                format!("the environment variable {name} is not set (write `$$` for a plain `$`)")
            })?);
            rest = &after[end + 1..];
        } else {
            return Err("a single `$`: write `${NAME}` for a variable, `$$` for a plain `$`".into());
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn variables_are_replaced_and_missing_ones_are_named() {
        let env = |name: &str| (name == "HOME_DIR").then(|| "/srv".to_owned());
        assert_eq!(replace("${HOME_DIR}/a$$b", &env).as_deref(), Ok("/srv/a$b"));
        assert!(replace("${NOPE}", &env).is_err_and(|e| e.contains("NOPE")));
        assert!(replace("${HOME_DIR", &env).is_err());
        assert!(replace("$HOME_DIR", &env).is_err());
    }
}
