//! Request bodies: read whole, within limits of size, time and memory, and looked into.
//!
//! They are read whole because the model must be known before the request is admitted, and the
//! hash of a token covers every byte. File uploads are the exception: they pass through.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{header, request::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use keyferry_core::{
    body::{self, ModelSpan, RequestFacts},
    code::Code,
    operation::{Operation, RequestBody},
};
use tokio::time::timeout;

use super::room::{Held, Room};
use crate::{
    http::{ClientBody, Problem},
    upstream::ForwardBody,
};

/// The longest JSON body.
const MAX_JSON: usize = 10 * 1024 * 1024;
/// The longest form.
const MAX_FORM: usize = 32 * 1024 * 1024;
/// The longest file upload, which is not kept in memory.
const MAX_UPLOAD: u64 = 512 * 1024 * 1024;
/// From the first byte of a body to its last.
const BODY_TIME: Duration = Duration::from_secs(60);
/// A body that was read, or an upload that will pass through.
pub(super) struct ReadBody {
    /// What it says of itself.
    pub(super) facts: RequestFacts,
    content: Content,
    /// How long the client took to send it.
    pub(super) waited: Duration,
    held: Held,
}

enum Content {
    Whole(Bytes),
    Upload(ClientBody),
}

impl ReadBody {
    /// Its bytes; `None` for an upload.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Whole(bytes) => Some(bytes),
            Content::Upload(_) => None,
        }
    }

    /// Where it names its model, which it must. Also takes the room for the body that it becomes.
    pub(super) fn place_of_model(
        &mut self,
        operation: &Operation,
        parts: &Parts,
    ) -> Result<ModelSpan, Problem> {
        let bytes = self.whole().unwrap_or_default();
        let span = match operation.body {
            RequestBody::Multipart => body::multipart_model_span(content_type(parts), bytes),
            RequestBody::Json | RequestBody::None => ModelSpan::in_json(bytes),
        };
        let span = span.ok_or_else(|| invalid("`model` is missing: provider/model, or an alias."))?;
        let length = bytes.len();
        self.held.add(length)?;
        Ok(span)
    }

    /// Puts another model in this place.
    pub(super) fn put_model(&mut self, place: &ModelSpan, model: &str) {
        if let Content::Whole(bytes) = &self.content {
            self.content = Content::Whole(place.replace(bytes, model).into());
        }
    }

    /// What goes to the provider, and the room it takes until it is there.
    pub(super) fn into_forward(self) -> (ForwardBody, Held) {
        let body = match self.content {
            Content::Whole(bytes) if bytes.is_empty() => ForwardBody::Empty,
            Content::Whole(bytes) => ForwardBody::Full(bytes),
            Content::Upload(body) => ForwardBody::Upload { body, left: MAX_UPLOAD },
        };
        (body, self.held)
    }
}

fn invalid(message: impl ToString) -> Problem {
    Problem::new(Code::InvalidRequest, message.to_string())
}

fn too_large(limit: u64) -> Problem {
    Problem::new(
        Code::RequestTooLarge,
        format!("The body is longer than {limit} bytes, the limit of this operation."),
    )
}

/// Reads the body of an operation.
pub(super) async fn read(
    room: &Room,
    operation: &Operation,
    parts: &Parts,
    incoming: ClientBody,
) -> Result<ReadBody, Problem> {
    let started = Instant::now();
    let declared = incoming.size_hint().exact();
    let limit = match operation.body {
        RequestBody::None | RequestBody::Json => MAX_JSON,
        RequestBody::Multipart => MAX_FORM,
    };
    if operation.name == "files.create" {
        if declared.is_some_and(|length| length > MAX_UPLOAD) {
            return Err(too_large(MAX_UPLOAD));
        }
        return Ok(ReadBody {
            facts: RequestFacts::default(),
            content: Content::Upload(incoming),
            waited: Duration::ZERO,
            held: room.hold(),
        });
    }
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit as u64));
    }
    let mut held = room.hold();
    let bytes = timeout(BODY_TIME, collect(incoming, limit, declared, &mut held))
        .await
        .map_err(|_| Problem { status: Some(408), ..invalid("The body came too slowly.") })??;
    Ok(ReadBody {
        facts: facts(operation, parts, &bytes)?,
        content: Content::Whole(bytes),
        waited: started.elapsed(),
        held,
    })
}

async fn collect(
    mut incoming: ClientBody,
    limit: usize,
    declared: Option<u64>,
    held: &mut Held,
) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut all: Option<BytesMut> = None;
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|_| invalid("The body broke off, or is malformed."))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = all.as_ref().map_or(first.len(), BytesMut::len) + data.len();
        if length > limit {
            return Err(too_large(limit as u64));
        }
        held.add(data.len())?;
        if let Some(all) = &mut all {
            all.extend_from_slice(&data);
        } else if first.is_empty() {
            first = data;
        } else {
            // More than one piece: from here on they are put together.
            let capacity = declared.map_or(length * 2, |length| length as usize).max(length);
            let mut together = BytesMut::with_capacity(capacity);
            together.extend_from_slice(&first);
            together.extend_from_slice(&data);
            all = Some(together);
        }
    }
    Ok(all.map_or(first, BytesMut::freeze))
}

fn facts(operation: &Operation, parts: &Parts, bytes: &Bytes) -> Result<RequestFacts, Problem> {
    match operation.body {
        RequestBody::None if bytes.is_empty() => Ok(RequestFacts::default()),
        RequestBody::None => {
            // Some SDKs send an empty object with commands.
            body::read_json(bytes).map(|_| RequestFacts::default()).map_err(invalid)
        }
        RequestBody::Json => body::read_json(bytes).map_err(invalid),
        RequestBody::Multipart => body::read_multipart_model(content_type(parts), bytes).map_err(invalid),
    }
}

fn content_type(parts: &Parts) -> &str {
    let value = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}
