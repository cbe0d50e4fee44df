//! A folder of SoftHSM tokens for one test, in a process of its own.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, KeyType, ObjectClass},
    session::{Session, UserType},
    types::AuthPin,
};
use keyferry_kms::Pkcs11Config;

/// Names the folder to the program that was started for one test.
const FOLDER: &str = "KEYFERRY_TEST_TOKENS";
const TOKEN: &str = "keyferry";
const SO_PIN: &str = "12345678";
/// The user's PIN.
pub const PIN: &str = "4321";

/// Where distributions put it.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];

/// Runs `body` on a token of its own, or says that it cannot. `test` is the whole name of the calling
/// test, `module::name`: the program is started again for it alone, since SoftHSM finds its tokens
/// through an environment variable of the process. What the test starts has that variable too.
pub fn on_a_token(test: &str, body: impl AsyncFnOnce(&Hsm)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let hsm = Hsm { folder: folder.into(), module: module().expect("the parent found it") };
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(body(&hsm));
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let conf = folder.path().join("softhsm2.conf");
    if module().is_none() || !init_token(folder.path(), &conf) {
        // Not by a macro: the test harness would keep it to itself.
        let _ = writeln!(std::io::stderr(), "skipped: {test}: SoftHSM 2 is not installed (softhsm2)");
        return;
    }
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env("SOFTHSM2_CONF", &conf)
        .env(FOLDER, folder.path())
        .output()
        .expect("this program starts again");
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && told.contains("1 passed"),
        "{told}\n{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

fn module() -> Option<PathBuf> {
    MODULES.iter().map(PathBuf::from).find(|path| path.exists())
}

fn init_token(folder: &Path, conf: &Path) -> bool {
    let tokens = folder.join("tokens");
    fs::create_dir(&tokens).expect("a folder");
    let text = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
    fs::write(conf, text).expect("written");
    let init = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", TOKEN, "--so-pin", SO_PIN, "--pin", PIN])
        .env("SOFTHSM2_CONF", conf)
        .output();
    match init {
        Ok(output) => {
            assert!(output.status.success(), "softhsm2-util makes a token");
            true
        }
        Err(_) => false,
    }
}

/// The tokens.
pub struct Hsm {
    folder: PathBuf,
    module: PathBuf,
}

impl Hsm {
    /// The configuration of a root on a new key of the kind that the documents ask for.
    pub fn with_key(&self, label: &str) -> Pkcs11Config {
        self.with_key_but(label, Attribute::Private(true))
    }

    /// The same, with one attribute that differs.
    pub fn with_key_but(&self, label: &str, different: Attribute) -> Pkcs11Config {
        self.as_user(|session| {
            let mut template = template(label);
            template.push(Attribute::ValueLen(32.into()));
            template.retain(|one| one.attribute_type() != different.attribute_type());
            template.push(different);
            session.generate_key(&Mechanism::AesKeyGen, &template).expect("a key");
        });
        self.config(label)
    }

    /// The same on a key that the test knows.
    pub fn with_known_key(&self, label: &str, bytes: &[u8]) -> Pkcs11Config {
        self.as_user(|session| {
            let mut template = template(label);
            template.push(Attribute::Class(ObjectClass::SECRET_KEY));
            template.push(Attribute::KeyType(KeyType::AES));
            template.push(Attribute::Value(bytes.to_vec()));
            session.create_object(&template).expect("a key");
        });
        self.config(label)
    }

    fn config(&self, label: &str) -> Pkcs11Config {
        self.write_pin(PIN);
        Pkcs11Config {
            module: self.module.clone(),
            token_label: TOKEN.to_owned(),
            key_label: label.to_owned(),
            pin_file: self.pin_file(),
        }
    }

    fn pin_file(&self) -> PathBuf {
        self.folder.join("pin")
    }

    /// Changes the PIN's file.
    pub fn write_pin(&self, pin: &str) {
        fs::write(self.pin_file(), format!("{pin}\n")).expect("written");
        fs::set_permissions(self.pin_file(), fs::Permissions::from_mode(0o600)).expect("mode");
    }

    pub fn let_others_read_the_pin(&self) {
        fs::set_permissions(self.pin_file(), fs::Permissions::from_mode(0o644)).expect("mode");
    }

    /// Changes the user's PIN on the token.
    pub fn set_pin(&self, pin: &str) {
        let session = self.session();
        session.login(UserType::So, Some(&AuthPin::new(SO_PIN.into()))).expect("the officer's PIN");
        session.init_pin(&AuthPin::new(pin.into())).expect("a new PIN");
        session.logout().expect("logged out");
    }

    /// Pulls the token out.
    pub fn take_away(&self) {
        fs::rename(self.folder.join("tokens"), self.folder.join("away")).expect("moved");
        fs::create_dir(self.folder.join("tokens")).expect("a folder");
    }

    /// Puts it back in.
    pub fn bring_back(&self) {
        fs::remove_dir(self.folder.join("tokens")).expect("an empty folder");
        fs::rename(self.folder.join("away"), self.folder.join("tokens")).expect("moved");
    }

    fn as_user(&self, job: impl FnOnce(&Session)) {
        let session = self.session();
        match session.login(UserType::User, Some(&AuthPin::new(PIN.into()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => job(&session),
            Err(error) => panic!("the user's PIN: {error}"),
        }
    }

    fn session(&self) -> Session {
        let library = Pkcs11::new(&self.module).expect("a module");
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => panic!("the module: {error}"),
        }
        let slots = library.get_slots_with_initialized_token().expect("slots");
        library.open_rw_session(slots[0]).expect("a session")
    }
}

fn template(label: &str) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ]
}
