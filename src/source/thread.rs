//! The network thread's main loop: takes requests, runs each as a task of a current-thread runtime.
//!
//! Everything that talks to the source runs here. It is started by src/pg, with signals blocked.

use std::panic::AssertUnwindSafe;

use tokio::sync::mpsc;

use super::connect::Connector;
use super::link::{Event, Outbox, Remote, Request};
use super::{chunk, inspect, probe, slot_making, stream, watch, writers};
use crate::error::Error;

/// Serves requests until the main thread's end is dropped. Never panics: a panic is reported as an error.
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
    let mut streaming = None;
    loop {
        let request = tokio::select! {
            request = remote.requests.recv() => request,
            Some(error) = failures.recv() => return Err(error),
        };
        let Some(request) = request else { return Ok(()) };
        let outbox = remote.outbox.clone();
        let connector = connector.clone();
        match request {
            Request::Command(command) => {
                let _ = commands.send(command);
            }
            Request::Stream(request) => {
                let Some(commanded) = take(&mut commanded, &mut streaming) else {
                    return Err(Error::stop("the stream was started twice"));
                };
                let hunger = remote.hunger.clone();
                let gauges = remote.gauges.clone();
                let ended = ended.clone();
                tokio::spawn(async move {
                    let mut stream = stream::Stream::new(request, commanded, outbox, hunger, gauges);
                    if let Err(error) = stream.run(&connector).await {
                        let _ = ended.send(error);
                    }
                });
            }
            other => {
                let ended = ended.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(&connector, other, &outbox).await {
                        let _ = ended.send(error);
                    }
                });
            }
        }
    }
}

/// Moves the receiver out, once.
fn take<T>(
    receiver: &mut mpsc::UnboundedReceiver<T>,
    taken: &mut Option<()>,
) -> Option<mpsc::UnboundedReceiver<T>> {
    if taken.replace(()).is_some() {
        return None;
    }
    let (_, empty) = mpsc::unbounded_channel();
    Some(std::mem::replace(receiver, empty))
}

async fn answer(connector: &Connector, request: Request, outbox: &Outbox) -> Result<(), Error> {
    let event = match request {
        Request::Inspect(request) => Event::Inspected(Box::new(inspect::inspect(connector, &request).await?)),
        Request::CreateSlot { slot } => {
            Event::SlotCreated { start: slot_making::create(connector, &slot, outbox).await? }
        }
        Request::DropSlot { slot } => {
            slot_making::drop(connector, &slot).await?;
            Event::Done
        }
        Request::Writers { tables } => {
            let sql = connector.sql().await?;
            let mut xids = Vec::new();
            for table in tables {
                xids.extend(writers::writers(&sql, table).await?);
            }
            xids.sort_unstable();
            xids.dedup();
            Event::Writers(xids)
        }
        Request::Filenodes { tables } => {
            let sql = connector.sql().await?;
            let query =
                "SELECT t, coalesce(pg_catalog.pg_relation_filenode(t), 0::oid) FROM unnest($1::oid[]) t";
            let rows = sql.query(query, &[&tables]).await?;
            let pairs = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
            Event::Filenodes(pairs.collect::<Result<_, tokio_postgres::Error>>()?)
        }
        Request::Chunk(request) => return chunk::read(connector, request, outbox).await,
        Request::Probe(steps) => return probe::serve(connector, steps, outbox).await,
        Request::Watch { every, slot, publication, excluded } => {
            return watch::watch(connector, every, &slot, &publication, &excluded, outbox).await;
        }
        // Handled by the caller.
        Request::Stream(_) | Request::Command(_) => return Ok(()),
    };
    outbox.send(event).await;
    Ok(())
}
