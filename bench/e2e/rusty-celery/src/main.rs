//! `rusty-celery-worker URL QUEUE PREFETCH`: serves `demo.noop` until it is told to stop.

#![allow(non_local_definitions)] // what `#[celery::task]` generates

use std::sync::Arc;

use celery::CeleryBuilder;
use celery::prelude::*;

#[celery::task(name = "demo.noop")]
fn noop() -> TaskResult<()> {
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("{what} is missing"));
    let (url, queue, prefetch) = (next("URL")?, next("QUEUE")?, next("PREFETCH")?.parse()?);
    let app = CeleryBuilder::new("bench", &url)
        .default_queue(&queue)
        .prefetch_count(prefetch)
        .heartbeat(Some(60))
        .build()
        .await?;
    app.register_task::<noop>().await?;
    Arc::new(app).consume_from(&[&queue]).await?;
    Ok(())
}
