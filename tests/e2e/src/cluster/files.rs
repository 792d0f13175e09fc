//! What the API server and its clients read at their start: certificates, tokens, kubeconfigs, the audit policy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::deploy::SYSTEM;
use crate::folder::Folder;

/// Whom the API server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// The test itself; may do anything.
    Admin,
    /// kube-controller-manager; may do anything.
    ControllerManager,
    /// The zenvoy controller: the ServiceAccount that `deploy/ha` gives it, with the rights that it has there.
    Zenvoy,
}

impl User {
    pub(super) const ALL: [Self; 3] = [Self::Admin, Self::ControllerManager, Self::Zenvoy];
    /// Who has a token from the start.
    const WITH_TOKEN: [Self; 2] = [Self::Admin, Self::ControllerManager];

    /// As the audit log names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "test-admin",
            Self::ControllerManager => "system:kube-controller-manager",
            Self::Zenvoy => "system:serviceaccount:zenvoy-system:zenvoy-controller",
        }
    }

    fn file_name(self) -> String {
        self.name().replace(':', "-")
    }

    /// What its kubeconfig has until another is written: a ServiceAccount's token comes from the API server.
    fn token(self) -> String {
        format!("token-of-{}", self.file_name())
    }
}

/// Paths of everything that was written.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) ca: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) account_key: PathBuf,
    pub(super) account_public_key: PathBuf,
    pub(super) tokens: PathBuf,
    pub(super) audit_policy: PathBuf,
}

impl Files {
    /// Writes them all for an API server at `address`.
    pub(super) fn write(folder: &Folder, address: SocketAddr) -> Self {
        let ca = authority();
        let key = KeyPair::generate().expect("a key");
        let names = vec![address.ip().to_string(), "localhost".into(), "kubernetes.default.svc".into()];
        let server = CertificateParams::new(names).expect("valid names");
        let certificate = server.signed_by(&key, &ca).expect("a certificate");
        let account = KeyPair::generate().expect("a key");
        let tokens = User::WITH_TOKEN
            .map(|user| format!("{},{name},{name},\"system:masters\"\n", user.token(), name = user.name()));
        Self {
            ca: folder.write("ca.crt", &ca.pem()),
            certificate: folder.write("apiserver.crt", &certificate.pem()),
            key: folder.write("apiserver.key", &key.serialize_pem()),
            account_key: folder.write("accounts.key", &account.serialize_pem()),
            account_public_key: folder.write("accounts.pub", &account.public_key_pem()),
            tokens: folder.write("tokens.csv", &tokens.concat()),
            audit_policy: folder.write("audit-policy.json", &audit_policy()),
        }
    }

    /// Writes the kubeconfig of `user`.
    pub(super) fn kubeconfig(&self, folder: &Folder, user: User, address: SocketAddr) -> PathBuf {
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": {
                "server": format!("https://{address}"),
                "certificate-authority": self.ca,
            }}],
            "users": [{ "name": user.name(), "user": { "token": user.token() } }],
            "contexts": [{ "name": "test", "context": {
                "cluster": "test", "user": user.name(), "namespace": SYSTEM,
            }}],
            "current-context": "test",
        });
        folder.write(&format!("{}.kubeconfig", user.file_name()), &text.to_string())
    }
}

/// Puts another token into a kubeconfig.
pub(super) fn give_token(kubeconfig: &Path, token: &str) {
    let text = std::fs::read(kubeconfig).expect("the kubeconfig we wrote");
    let mut config: Value = serde_json::from_slice(&text).expect("the kubeconfig is JSON");
    config["users"][0]["user"]["token"] = token.into();
    std::fs::write(kubeconfig, config.to_string()).expect("write a kubeconfig");
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "zenvoy test CA");
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// Whole requests and answers of everything that can change or shows how many replicas something has; of zenvoy's other
/// requests, that they were made.
fn audit_policy() -> String {
    let writes = ["create", "update", "patch", "delete", "deletecollection"];
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": true,
        "rules": [
            { "level": "RequestResponse", "verbs": writes, "resources": [
                { "group": "apps", "resources": [
                    "*/scale", "deployments", "statefulsets", "deployments/status", "statefulsets/status",
                ]},
                { "group": "", "resources": ["*/scale"] },
                { "group": "test.zenvoy.dev" },
            ]},
            { "level": "Metadata", "users": [User::Zenvoy.name()] },
            { "level": "None" },
        ],
    });
    policy.to_string()
}
