//! One key on one token, as the module's thread sees it: opens the session, logs in, finds the key,
//! encrypts and decrypts. All of it blocks.

use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::{
    context::{Function, Pkcs11},
    error::{Error, RvError},
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::RawAuthPin,
};
use keyferry_core::port::root::RootError;
use keyferry_envelope::{Entropy, SecretBytes};

use super::{gcm, module::Module, pin};
use crate::Pkcs11Config;

/// The key, and what is known of the way to it.
pub(super) struct Token {
    config: Pkcs11Config,
    pub(super) entropy: Arc<dyn Entropy>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// A PIN that the token refused. It is not tried again: a token locks itself after a few tries.
    refused: Option<SecretBytes>,
}

/// A session in which the user is logged in, and the key in it.
struct Open {
    session: Session,
    key: ObjectHandle,
    generation: u64,
}

impl Token {
    pub(super) fn new(config: Pkcs11Config, entropy: Arc<dyn Entropy>) -> Self {
        Self { config, entropy, state: Mutex::default() }
    }

    /// Does something with the key. After a failure of the token the session is closed, and the next
    /// call opens another one.
    pub(super) fn with_key<R>(
        &self,
        module: &mut Module,
        job: impl FnOnce(&Session, ObjectHandle) -> Result<R, RootError>,
    ) -> Result<R, RootError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match state.open.take() {
            Some(open) if open.generation == module.generation() => open,
            _ => self.open(module, &mut state.refused)?,
        };
        let done = job(&open.session, open.key);
        if done.as_ref().is_err_and(RootError::is_failure) {
            close(open.session);
        } else {
            state.open = Some(open);
        }
        done
    }

    fn open(&self, module: &mut Module, refused: &mut Option<SecretBytes>) -> Result<Open, RootError> {
        let opened = match self.open_in(module.ready().map_err(failed)?, refused) {
            // A token that was away and is back is seen by some modules only when they begin anew.
            Err(RootError::Away(_)) => self.open_in(module.restart().map_err(failed)?, refused),
            opened => opened,
        };
        let (session, key) = opened?;
        Ok(Open { session, key, generation: module.generation() })
    }

    fn open_in(
        &self,
        library: &Pkcs11,
        refused: &mut Option<SecretBytes>,
    ) -> Result<(Session, ObjectHandle), RootError> {
        let slot = self.slot(library)?;
        // Closed by hand: when the module begins anew, a handle may become somebody else's.
        let session = library.open_ro_session_no_drop(slot).map_err(failed)?;
        match self.log_in(library, slot, &session, refused).and_then(|()| self.key(&session)) {
            Ok(key) => Ok((session, key)),
            Err(error) => {
                close(session);
                Err(error)
            }
        }
    }

    fn slot(&self, library: &Pkcs11) -> Result<Slot, RootError> {
        let slots = library.get_slots_with_token().map_err(failed)?;
        // A token that says nothing of itself is not the one, whatever is wrong with it.
        let is_it = |slot: &Slot| {
            library.get_token_info(*slot).is_ok_and(|token| token.label() == self.config.token_label)
        };
        let mut found = slots.into_iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some(slot), None) => Ok(slot),
            (None, _) => Err(RootError::Away("there is no token with this `token_label`".to_owned())),
            (Some(_), Some(_)) => Err(denied("two tokens have this `token_label`")),
        }
    }

    fn log_in(
        &self,
        library: &Pkcs11,
        slot: Slot,
        session: &Session,
        refused: &mut Option<SecretBytes>,
    ) -> Result<(), RootError> {
        let pin = pin::read(&self.config.pin_file)
            .map_err(|error| RootError::Denied(format!("`pin_file`: {error}")))?;
        if refused.as_ref().is_some_and(|refused| refused.ct_eq(&pin)) {
            return Err(denied(
                "the token refused the PIN in `pin_file`; it is not tried again until that changes",
            ));
        }
        let token = library.get_token_info(slot).map_err(failed)?;
        if token.user_pin_locked() {
            return Err(denied("the token has locked the user's PIN"));
        }
        if token.user_pin_final_try() {
            return Err(denied("the token has one try left for the user's PIN: log in by hand once"));
        }
        let raw = RawAuthPin::new(Box::new(pin.expose().to_vec()));
        match session.login_with_raw(UserType::User, &raw) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                *refused = None;
                Ok(())
            }
            Err(Error::Pkcs11(
                code @ (RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked
                | RvError::UserPinNotInitialized),
                _,
            )) => {
                *refused = Some(pin);
                Err(RootError::Denied(format!("the token refuses the PIN in `pin_file`: {code:?}")))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The key, if it is one that never leaves the token.
    fn key(&self, session: &Session) -> Result<ObjectHandle, RootError> {
        let wanted = [
            Attribute::Token(true),
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Label(self.config.key_label.as_bytes().to_vec()),
        ];
        let found = session.find_objects(&wanted).map_err(failed)?;
        let &[key] = found.as_slice() else {
            let many = "two AES keys on the token have this `key_label`";
            let none = "no AES key on the token has this `key_label`";
            return Err(denied(if found.is_empty() { none } else { many }));
        };
        let types = [
            AttributeType::ValueLen,
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::Encrypt,
            AttributeType::Decrypt,
        ];
        let attributes = session.get_attributes(key, &types).map_err(failed)?;
        for (must_be, otherwise) in [
            (Attribute::ValueLen(32.into()), "the key has not 256 bits"),
            (Attribute::Sensitive(true), "the key is not marked sensitive: anybody logged in can read it"),
            (Attribute::Extractable(false), "the key is marked extractable: it can leave the token"),
            (Attribute::Encrypt(true), "the key may not encrypt"),
            (Attribute::Decrypt(true), "the key may not decrypt"),
        ] {
            if !attributes.contains(&must_be) {
                return Err(denied(otherwise));
            }
        }
        Ok(key)
    }

    /// Whether the key does what it should. Tells data that does not open from a token that is broken.
    pub(super) fn works(&self, session: &Session, key: ObjectHandle) -> bool {
        const PROBE: &[u8; 32] = b"keyferry asks whether this works";
        gcm::encrypt(session, key, b"probe", PROBE, &*self.entropy)
            .and_then(|(iv, sealed)| gcm::decrypt(session, key, b"probe", iv, &sealed))
            .is_ok_and(|opened| opened.expose() == PROBE)
    }
}

/// Best effort: a session that cannot be closed is gone already, or goes with the module.
fn close(session: Session) {
    let _ = session.close();
}

fn denied(why: &str) -> RootError {
    RootError::Denied(why.to_owned())
}

/// What a failure that is not about data means.
pub(super) fn failed(error: Error) -> RootError {
    match error {
        Error::Pkcs11(
            code @ (RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::KeyFunctionNotPermitted
            | RvError::KeyTypeInconsistent
            | RvError::KeySizeRange
            | RvError::FunctionNotSupported),
            function @ (Function::EncryptInit | Function::DecryptInit),
        ) => RootError::Denied(format!(
            "the token does no AES-GCM with this key: {function} answered {code:?}"
        )),
        Error::Pkcs11(code, function) => RootError::Away(format!("{function} answered {code:?}")),
        _ => RootError::Away("the module does not follow PKCS#11".to_owned()),
    }
}
