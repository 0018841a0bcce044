//! The network thread's main loop: takes requests, runs each as a task of a current-thread runtime.
//!
//! Everything that talks to the source runs here. It is started by src/pg, with signals blocked.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::connect::Connector;
use super::link::{Event, Gauges, Outbox, Remote, Request};
use super::{catalog, chunk, inspect, probe, slot_making, stream, watch, whereabouts, writers};
use crate::error::Error;
use crate::mirror::gate::Refusal;

/// Serves requests until the main thread's end is dropped. Never panics: a panic is reported as an
/// error.
pub fn run(connector: Connector, remote: Remote) {
    let outbox = remote.outbox.clone();
    let served = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(serve(connector, remote)),
            Err(error) => Err(Error::retry(format!("the network thread could not start: {error}"))),
        }
    }));
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => outbox.send_last(error),
        Err(_) => {
            outbox.send_last(Error::stop("the network thread panicked; the server's log has the place"))
        }
    }
}

async fn serve(connector: Connector, mut remote: Remote) -> Result<(), Error> {
    let (commands, mut commanded) = mpsc::unbounded_channel();
    let (ended, mut failures) = mpsc::unbounded_channel::<Error>();
    let mut streaming: Option<JoinHandle<()>> = None;
    let spare = Arc::new(chunk::Spare::default());
    let look_wanted = Arc::new(Notify::new());
    let (too_much, mut too_much_kept) = mpsc::unbounded_channel::<(String, Refusal)>();
    loop {
        let request = tokio::select! {
            request = remote.requests.recv() => request,
            Some(error) = failures.recv() => return Err(error),
            Some((slot, why)) = too_much_kept.recv() => {
                return Err(give_up(&connector, &slot, &why, streaming, &remote.gauges).await);
            }
        };
        let Some(request) = request else { return Ok(()) };
        let outbox = remote.outbox.clone();
        let connector = connector.clone();
        match request {
            Request::Command(command) => {
                let _ = commands.send(command);
            }
            Request::Stream(request) => {
                spare.take();
                if streaming.is_some() {
                    return Err(Error::stop("the stream was started twice"));
                }
                let (_, none) = mpsc::unbounded_channel();
                let commanded = std::mem::replace(&mut commanded, none);
                let hunger = remote.hunger.clone();
                let gauges = remote.gauges.clone();
                let ended = ended.clone();
                streaming = Some(tokio::spawn(async move {
                    let mut stream = stream::Stream::new(commanded, outbox, hunger, gauges);
                    if let Err(error) = stream.run(&connector, request).await {
                        stream.note_failure(&error);
                        let _ = ended.send(error);
                    }
                }));
            }
            Request::LookNow => look_wanted.notify_one(),
            Request::Watch(request) => {
                let too_much = too_much.clone();
                let gauges = Arc::clone(&remote.gauges);
                let wanted = Arc::clone(&look_wanted);
                tokio::spawn(async move {
                    let watched = watch::watch(&connector, &request, &outbox, &gauges, &wanted).await;
                    if let Some(why) = watched {
                        let _ = too_much.send((request.slot, why));
                    }
                });
            }
            other => {
                let ended = ended.clone();
                // While the stream runs chunks are rare, and nobody's session should lie idle.
                let spare = streaming.is_none().then(|| Arc::clone(&spare));
                let gauges = remote.gauges.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(&connector, spare.as_deref(), other, &outbox, &gauges).await {
                        let _ = ended.send(error);
                    }
                });
            }
        }
    }
}

/// Drops the slot, our own stream first. The main thread may be stuck, in a statement say: Odoo's
/// disk can't wait for it.
async fn give_up(
    connector: &Connector,
    slot: &str,
    why: &Refusal,
    stream: Option<JoinHandle<()>>,
    gauges: &Gauges,
) -> Error {
    let was_ours = stream.is_some();
    if let Some(stream) = stream {
        stream.abort();
        let _ = stream.await;
    }
    match slot_making::drop(connector, slot, was_ours).await {
        Ok(()) => {
            let why = why.to_string();
            let _ = gauges.slot_given_up.set(why.clone());
            Error::gate(why)
        }
        // The next start finds it as it is now.
        Err(error) => error,
    }
}

async fn answer(
    connector: &Connector,
    spare: Option<&chunk::Spare>,
    request: Request,
    outbox: &Outbox,
    gauges: &Gauges,
) -> Result<(), Error> {
    let event = match request {
        Request::Inspect(request) => Event::Inspected(Box::new(inspect::inspect(connector, &request).await)),
        Request::CreateSlot { slot, anew, give_up_at, failover } => Event::SlotCreated {
            start: slot_making::create(connector, &slot, anew, give_up_at, failover, outbox).await?,
        },
        Request::SetFailover { slot, failover } => {
            slot_making::set_failover(connector, &slot, failover).await?;
            Event::Done
        }
        Request::DropSlot { slot } => {
            slot_making::drop(connector, &slot, false).await?;
            Event::Done
        }
        Request::LeaveSlot { slot, applied } => {
            slot_making::leave(connector, &slot, applied).await?;
            Event::Done
        }
        Request::Writers { tables } => {
            let sql = connector.sql().await?;
            let mut found = Vec::new();
            for table in tables {
                found.extend(writers::writers(&sql, table).await?.into_iter().map(|xid| (table, xid)));
            }
            Event::Writers(found)
        }
        Request::Filenodes { tables } => {
            let looked = async {
                let sql = connector.sql().await?;
                let query =
                    "SELECT t, coalesce(pg_catalog.pg_relation_filenode(t), 0::oid) FROM unnest($1::oid[]) t";
                let rows = sql.query(query, &[&tables]).await?;
                rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
            };
            Event::Filenodes(looked.await)
        }
        Request::Whereabouts { tables } => {
            let looked = async {
                let sql = connector.sql().await?;
                whereabouts::whereabouts(&sql, &tables).await
            };
            Event::Whereabouts(looked.await)
        }
        Request::Look { publication, excluded } => {
            let looked = async {
                let sql = connector.sql().await?;
                catalog::look(&sql, &publication, &excluded).await
            };
            Event::Seen(Box::new(looked.await))
        }
        Request::Chunk(request) => return chunk::read(connector, spare, request, outbox).await,
        Request::Probe(steps) => return probe::serve(connector, steps, outbox, gauges).await,
        // Handled by the caller.
        Request::Stream(_) | Request::Command(_) | Request::Watch(_) | Request::LookNow => return Ok(()),
    };
    outbox.send(event).await;
    Ok(())
}
