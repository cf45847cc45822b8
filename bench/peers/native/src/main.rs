// SPDX-License-Identifier: Apache-2.0
//! The native peer: axum in front, one compute thread a core behind, each with its own decoder,
//! resizer and inference requests. A thread takes what is waiting (up to BATCH), decodes each picture
//! into the batch and runs it, so batches fill under load and nothing waits for one.
//!
//! POST /v1/predict takes a JPEG and answers the five best labels as JSON.
mod openvino;
mod orientation;
mod picture;

use axum::{body::Bytes, extract::State, http::StatusCode, response::{IntoResponse, Response}, routing, Router};
use crossbeam_channel::{Receiver, Sender};
use serde::Serialize;
use std::{env, fs, sync::Arc, thread};
use tokio::sync::oneshot;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIDE: usize = 224;

struct Job {
    file: Bytes,
    reply: oneshot::Sender<Result<Vec<u8>, String>>,
}

#[derive(Serialize)]
struct Prediction<'a> {
    class_id: usize,
    label: &'a str,
    score: f32,
}
#[derive(Serialize)]
struct Answer<'a> {
    model: &'a str,
    predictions: [Prediction<'a>; 5],
}

fn setting(name: &str, preset: usize) -> usize {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(preset)
}

fn answer(scores: &[f32], labels: &[String]) -> Vec<u8> {
    let mut best = [0usize; 5];
    let mut found = 0;
    for (class, score) in scores.iter().enumerate() {
        if found == 5 && *score <= scores[best[4]] {
            continue;
        }
        let mut at = found.min(4);
        found = (found + 1).min(5);
        while at > 0 && scores[best[at - 1]] < *score {
            best[at] = best[at - 1];
            at -= 1;
        }
        best[at] = class;
    }
    let peak = scores[best[0]];
    let sum: f32 = scores.iter().map(|score| (score - peak).exp()).sum();
    let predictions = best.map(|class_id| Prediction {
        class_id,
        label: &labels[class_id],
        score: (scores[class_id] - peak).exp() / sum,
    });
    serde_json::to_vec(&Answer { model: "efficientnet-lite0", predictions }).unwrap()
}

fn work(jobs: Receiver<Job>, network: Arc<openvino::Network>, labels: Arc<Vec<String>>, batch_max: usize) {
    let mut session = openvino::Session::new(&network, SIDE).expect("session");
    let mut reader = picture::Reader::new();
    let mut replies = Vec::with_capacity(batch_max);
    while let Ok(first) = jobs.recv() {
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match reader.fit(&job.file, SIDE, session.slot(replies.len())) {
                Ok(()) => replies.push(job.reply),
                Err(text) => drop(job.reply.send(Err(text))),
            }
            if replies.len() < batch_max {
                next = jobs.try_recv().ok();
            }
        }
        if replies.is_empty() {
            continue;
        }
        match session.run(replies.len(), labels.len()) {
            Ok(scores) => {
                for (reply, row) in replies.drain(..).zip(scores.chunks_exact(labels.len())) {
                    let _ = reply.send(Ok(answer(row, &labels)));
                }
            }
            Err(text) => replies.drain(..).for_each(|reply| drop(reply.send(Err(text.clone())))),
        }
    }
}

async fn predict(State(jobs): State<Sender<Job>>, file: Bytes) -> Response {
    let (reply, result) = oneshot::channel();
    if jobs.try_send(Job { file, reply }).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "full").into_response();
    }
    match result.await {
        Ok(Ok(json)) => ([("content-type", "application/json")], json).into_response(),
        Ok(Err(text)) => (StatusCode::UNPROCESSABLE_ENTITY, text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn main() {
    let mut arguments = env::args().skip(1);
    let (Some(listen), Some(folder)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: native-peer HOST:PORT MODEL-FOLDER");
        std::process::exit(2);
    };
    let cores = thread::available_parallelism().map_or(1, |count| count.get());
    let (workers, batch_max) = (setting("WORKERS", cores), setting("BATCH", 8));
    let hint = env::var("HINT").unwrap_or("THROUGHPUT".into());
    let labels = fs::read_to_string(format!("{folder}/labels.txt")).expect("labels.txt");
    let labels: Arc<Vec<String>> = Arc::new(labels.lines().map(String::from).collect());
    let network = openvino::Network::load(&format!("{folder}/model.onnx"), SIDE, batch_max, workers, &hint);
    let network = Arc::new(network.expect("model.onnx"));
    let (sender, receiver) = crossbeam_channel::bounded(256);
    for _ in 0..workers {
        let (receiver, network, labels) = (receiver.clone(), network.clone(), labels.clone());
        thread::spawn(move || work(receiver, network, labels, batch_max));
    }
    let app = Router::new()
        .route("/v1/predict", routing::post(predict))
        .route("/health", routing::get(|| async { "ready" }))
        .layer(axum::extract::DefaultBodyLimit::max(20_000_000))
        .with_state(sender);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(setting("HTTP_THREADS", 1))
        .enable_io()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(&listen).await.expect("listen");
        axum::serve(listener, app).await.expect("serve");
    });
}
