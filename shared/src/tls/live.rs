//! Material that follows its files. In: files, looked at again and again; out: the material of now, and how it goes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::reload::{Look, Reload};
use super::{Material, Role, TlsError, TlsFiles};

/// How often the files are looked at. They are small; a look compares their bytes, so that it matters neither how they were
/// replaced nor what their time stamps say.
const EVERY: Duration = Duration::from_secs(2);

/// How it goes with the files, for status and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TlsStatus {
    /// Who the process is.
    pub identity: Option<String>,
    /// The serial number of its certificate.
    pub serial: Option<String>,
    /// The last moment of its certificate, seconds since the Unix epoch.
    pub not_after_unix: Option<u64>,
    /// Changes taken in since the start.
    pub reloads: u64,
    /// Changes refused since the start.
    pub refusals: u64,
    /// Why what the files hold now is not used.
    pub refused: Option<String>,
}

/// Material that follows its files as long as a clone of this lives. Whoever begins a handshake asks for the material of
/// now; connections that stand are not touched.
#[derive(Debug, Clone)]
pub struct Live {
    shared: Arc<Shared>,
    _looking: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    material: watch::Sender<Arc<Material>>,
    status: Mutex<TlsStatus>,
}

impl Live {
    /// Reads the files, and from then on looks at them every two seconds.
    ///
    /// # Errors
    /// When they cannot be used now: a start with them would not work.
    pub async fn open(files: TlsFiles, role: Role) -> Result<Self, TlsError> {
        let material = Material::check(files.read().await?, &files, &role, SystemTime::now())?;
        let shared = Arc::new(Shared {
            material: watch::Sender::new(Arc::new(material.clone())),
            status: Mutex::new(TlsStatus::default().with(&material)),
        });
        let reload = Reload::new(files.clone(), role, material);
        let looking = tokio::spawn(look(shared.clone(), files, reload));
        Ok(Self { shared, _looking: Arc::new(AbortOnDropHandle::new(looking)) })
    }

    /// The material of now.
    pub fn material(&self) -> Arc<Material> {
        self.shared.material.borrow().clone()
    }

    /// The material of now, and each that follows it.
    pub fn changes(&self) -> watch::Receiver<Arc<Material>> {
        self.shared.material.subscribe()
    }

    /// How it goes.
    pub fn status(&self) -> TlsStatus {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TlsStatus {
    fn with(self, material: &Material) -> Self {
        let own = material.own();
        Self {
            identity: material.identity().map(ToString::to_string),
            serial: own.map(|own| own.serial.clone()),
            not_after_unix: own.map(super::Leaf::not_after_unix),
            refused: None,
            ..self
        }
    }
}

async fn look(shared: Arc<Shared>, files: TlsFiles, mut reload: Reload) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let look = reload.look(files.read().await, SystemTime::now());
        let mut status = shared.status.lock().unwrap_or_else(PoisonError::into_inner);
        match look {
            Look::Nothing if reload.is_current() => status.refused = None,
            Look::Nothing => {}
            Look::Taken(material) => {
                *status = std::mem::take(&mut *status).with(&material);
                status.reloads += 1;
                info!(serial = status.serial, "TLS files have changed: new handshakes use them");
                shared.material.send_replace(Arc::new(*material));
            }
            Look::Refused(error) => {
                warn!(%error, "TLS files have changed and cannot be used; the old ones stay in use");
                status.refusals += 1;
                status.refused = Some(error.to_string());
            }
        }
    }
}
