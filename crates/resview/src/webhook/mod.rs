//! `resview webhook`: gives new pods the view by volumes, in clusters whose nodes have no NRI.

mod health;
mod options;
mod upkeep;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kube::certificate::{Files, Keeper, Names, Objects, Pace, Shown};
use kube::client::Client;
use kube::review::{Settings, Source};
use kube::serve::{Limits, Metrics, Webhook, https, plain};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::health::Health;
pub(crate) use self::options::WebhookOptions;
use self::upkeep::{PolicyFile, keep_certificate, refresh_certificate, refresh_policy};
use crate::exit_codes;
use crate::logging;

/// More would only wait for the same few connections.
const MOST_THREADS: usize = 4;

/// Serves until SIGTERM or SIGINT; exit code 0 then, 1 if it could not start.
pub(crate) fn main(options: &WebhookOptions) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resview: {error:#}");
            exit_codes::FAILED.into()
        }
    }
}

fn run(options: &WebhookOptions) -> anyhow::Result<()> {
    logging::start(options.log.as_deref(), "info")?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(serve(options))
}

async fn serve(options: &WebhookOptions) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::default());
    let mut policy = PolicyFile::new(options.policy.clone());
    let first = policy.read()?;
    let limits = Limits::default();
    let webhook = Arc::new(Webhook::new(settings(options), first, Arc::clone(&metrics), limits));
    let health = Arc::new(Health::new(Arc::clone(&metrics)));
    let listener = listen(options.listen).await?;
    // The two ends of the process: it wants to end, and it takes no more connections.
    let (ending, _) = watch::channel(false);
    let ended = |ending: &watch::Sender<bool>| {
        let mut ending = ending.subscribe();
        // An error is the sender's end, which is that of the process.
        async move { drop(ending.wait_for(|is_ending| *is_ending).await) }
    };
    if let Some(address) = options.health_listen {
        let pages = Arc::clone(&health);
        let listener = listen(address).await?;
        tokio::spawn(plain(listener, move |path| pages.page(path), limits, ended(&ending)));
    }
    tokio::spawn(refresh_policy(policy, Arc::clone(&webhook)));
    look_after_certificate(options, &health)?;
    let shown = Arc::clone(health.shown());
    let server = tokio::spawn(https(listener, webhook, shown, ended(&ending)));
    tracing::info!(listen = %options.listen, "reviews are answered");

    wait_for_signal().await?;
    tracing::info!("no longer ready; ending in {:?}", options.drain);
    health.drain();
    tokio::time::sleep(options.drain).await;
    ending.send_replace(true);
    server.await.context("the server broke")??;
    Ok(())
}

fn settings(options: &WebhookOptions) -> Settings {
    Settings {
        files: options.files.clone(),
        source: Source {
            mountpoint: options.mountpoint.clone(),
            host_path_type: options.host_path_type.into(),
        },
        id_mapped_mounts: options.id_mapped_mounts,
    }
}

/// Begins to look after the certificate: reads the given files, or keeps one of our own.
fn look_after_certificate(options: &WebhookOptions, health: &Arc<Health>) -> anyhow::Result<()> {
    if let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) {
        let mut files = Files::new(certificate.clone(), key.clone());
        files.refresh(health.shown())?;
        health.settled();
        tokio::spawn(refresh_certificate(files, Arc::clone(health)));
        return Ok(());
    }
    let keeper = keeper(options, health.shown())?;
    tokio::spawn(keep_certificate(keeper, Arc::clone(health)));
    Ok(())
}

fn keeper(options: &WebhookOptions, shown: &Arc<Shown>) -> anyhow::Result<Keeper> {
    let secret =
        options.tls_secret.as_ref().context("either --tls-cert or --tls-secret, please")?;
    let service = options.service.as_deref().context("--tls-secret wants --service")?;
    let configuration = options.configuration.clone();
    let objects = Objects {
        secret: secret.name.clone(),
        configuration: configuration.context("--tls-secret wants --configuration")?,
        names: Names::new(service, &secret.namespace).with_context(|| {
            format!("{service} in {} is no name of a Service", secret.namespace)
        })?,
    };
    let client = match (&options.api_server, &options.api_ca, &options.api_token) {
        (Some(server), Some(ca), Some(token)) => {
            Client::new(server.clone(), ca.clone(), token.clone())
        }
        _ => Client::in_cluster()?,
    };
    let pace = Pace::of(*options.certificate_life);
    Ok(Keeper::new(client, objects, pace, Arc::clone(shown)))
}

/// Listens; where there is no IPv6, `[::]` means all that there is.
async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = match TcpListener::bind(address).await {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port())).await
        }
        listener => listener,
    };
    listener.with_context(|| format!("cannot listen at {address}"))
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let cannot = "cannot wait for signals";
    let mut terminate = signal(SignalKind::terminate()).context(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(cannot)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// How often files are looked at that somebody else changes.
const FILES_INTERVAL: Duration = Duration::from_secs(5);
