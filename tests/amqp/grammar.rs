//! Generated input: every method, any properties, any table.

use celeriac::amqp::method::{Method, basic, channel, confirm, connection, exchange, queue, tx};
use celeriac::amqp::table::{ArrayBuf, TableBuf};
use celeriac::amqp::{Properties, ShortStr, Value};
use proptest::prelude::*;

/// What arguments of any method can be filled with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    names: [String; 4],
    long: Vec<u8>,
    table: TableBuf,
    bits: [bool; 5],
    number: u64,
}

pub(crate) fn arguments() -> impl Strategy<Value = Arguments> {
    let names = proptest::array::uniform4("\\PC{0,20}");
    let long = proptest::collection::vec(any::<u8>(), 0..40);
    (names, long, table(), any::<[bool; 5]>(), any::<u64>()).prop_map(
        |(names, long, table, bits, number)| Arguments {
            names,
            long,
            table,
            bits,
            number,
        },
    )
}

/// A value that owns what it needs.
#[derive(Clone, Debug)]
pub(crate) enum Owned {
    Text(Vec<u8>),
    Bytes(Vec<u8>),
    Plain(Value<'static>),
    Table(Vec<(String, Self)>),
    Array(Vec<Self>),
}

pub(crate) fn value() -> impl Strategy<Value = Owned> {
    let octets = || proptest::collection::vec(any::<u8>(), 0..20);
    let leaf = prop_oneof![
        octets().prop_map(Owned::Text),
        octets().prop_map(Owned::Bytes),
        any::<bool>().prop_map(|v| Owned::Plain(Value::Bool(v))),
        any::<i8>().prop_map(|v| Owned::Plain(Value::I8(v))),
        any::<u8>().prop_map(|v| Owned::Plain(Value::U8(v))),
        any::<i16>().prop_map(|v| Owned::Plain(Value::I16(v))),
        any::<u16>().prop_map(|v| Owned::Plain(Value::U16(v))),
        any::<i32>().prop_map(|v| Owned::Plain(Value::I32(v))),
        any::<u32>().prop_map(|v| Owned::Plain(Value::U32(v))),
        any::<i64>().prop_map(|v| Owned::Plain(Value::I64(v))),
        any::<f32>().prop_map(|v| Owned::Plain(Value::F32(v))),
        any::<f64>().prop_map(|v| Owned::Plain(Value::F64(v))),
        (any::<u8>(), any::<i32>())
            .prop_map(|(scale, value)| Owned::Plain(Value::Decimal { scale, value })),
        any::<u64>().prop_map(|v| Owned::Plain(Value::Timestamp(v))),
        Just(Owned::Plain(Value::Void)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            pairs(inner.clone()).prop_map(Owned::Table),
            proptest::collection::vec(inner, 0..4).prop_map(Owned::Array),
        ]
    })
}

/// Pairs with keys that differ, in the order of the keys.
pub(crate) fn pairs(
    value: impl Strategy<Value = Owned>,
) -> impl Strategy<Value = Vec<(String, Owned)>> {
    proptest::collection::btree_map("[a-z_]{1,8}", value, 0..4)
        .prop_map(|map| map.into_iter().collect())
}

pub(crate) fn table() -> impl Strategy<Value = TableBuf> {
    pairs(value()).prop_map(|pairs| build_table(&pairs))
}

pub(crate) fn build_table(pairs: &[(String, Owned)]) -> TableBuf {
    let mut table = TableBuf::new();
    for (key, value) in pairs {
        with_value(value, &mut |value| {
            table.insert(key, value).expect("a short key")
        });
    }
    table
}

fn with_value(owned: &Owned, put: &mut dyn FnMut(Value<'_>)) {
    match owned {
        Owned::Text(octets) => put(Value::LongStr(octets)),
        Owned::Bytes(octets) => put(Value::Bytes(octets)),
        Owned::Plain(value) => put(*value),
        Owned::Table(pairs) => put(build_table(pairs).as_table().into()),
        Owned::Array(values) => {
            let mut array = ArrayBuf::new();
            for value in values {
                with_value(value, &mut |value| array.push(value).expect("short"));
            }
            put(array.as_array().into());
        }
    }
}

/// Every method there is, filled with these arguments.
pub(crate) fn every_method(arguments: &Arguments) -> Vec<Method<'_>> {
    let names: [ShortStr<'_>; 4] = std::array::from_fn(|i| (&arguments.names[i]).into());
    let [a, b, c, d] = names;
    let (long, table) = (arguments.long.as_slice(), arguments.table.as_table());
    let [t, u, v, w, x] = arguments.bits;
    let n = arguments.number;
    let (short, int) = (n as u16, n as u32);
    vec![
        connection::Start {
            version_major: n as u8,
            version_minor: (n >> 8) as u8,
            server_properties: table,
            mechanisms: long,
            locales: b"en_US",
        }
        .into(),
        connection::StartOk {
            client_properties: table,
            mechanism: a,
            response: long,
            locale: b,
        }
        .into(),
        connection::Secure { challenge: long }.into(),
        connection::SecureOk { response: long }.into(),
        connection::Tune {
            channel_max: short,
            frame_max: int,
            heartbeat: !short,
        }
        .into(),
        connection::TuneOk {
            channel_max: short,
            frame_max: int,
            heartbeat: !short,
        }
        .into(),
        connection::Open { virtual_host: a }.into(),
        connection::OpenOk {}.into(),
        connection::Close {
            reply_code: short,
            reply_text: a,
            class_id: !short,
            method_id: 1,
        }
        .into(),
        connection::CloseOk {}.into(),
        connection::Blocked { reason: a }.into(),
        connection::Unblocked {}.into(),
        connection::UpdateSecret {
            new_secret: long,
            reason: a,
        }
        .into(),
        connection::UpdateSecretOk {}.into(),
        channel::Open {}.into(),
        channel::OpenOk {}.into(),
        channel::Flow { active: t }.into(),
        channel::FlowOk { active: t }.into(),
        channel::Close {
            reply_code: short,
            reply_text: a,
            class_id: !short,
            method_id: 1,
        }
        .into(),
        channel::CloseOk {}.into(),
        exchange::Declare {
            exchange: a,
            kind: b,
            passive: t,
            durable: u,
            auto_delete: v,
            internal: w,
            nowait: x,
            arguments: table,
        }
        .into(),
        exchange::DeclareOk {}.into(),
        exchange::Delete {
            exchange: a,
            if_unused: t,
            nowait: u,
        }
        .into(),
        exchange::DeleteOk {}.into(),
        exchange::Bind {
            destination: a,
            source: b,
            routing_key: c,
            nowait: t,
            arguments: table,
        }
        .into(),
        exchange::BindOk {}.into(),
        exchange::Unbind {
            destination: a,
            source: b,
            routing_key: c,
            nowait: t,
            arguments: table,
        }
        .into(),
        exchange::UnbindOk {}.into(),
        queue::Declare {
            queue: a,
            passive: t,
            durable: u,
            exclusive: v,
            auto_delete: w,
            nowait: x,
            arguments: table,
        }
        .into(),
        queue::DeclareOk {
            queue: a,
            message_count: int,
            consumer_count: !int,
        }
        .into(),
        queue::Bind {
            queue: a,
            exchange: b,
            routing_key: c,
            nowait: t,
            arguments: table,
        }
        .into(),
        queue::BindOk {}.into(),
        queue::Purge {
            queue: a,
            nowait: t,
        }
        .into(),
        queue::PurgeOk { message_count: int }.into(),
        queue::Delete {
            queue: a,
            if_unused: t,
            if_empty: u,
            nowait: v,
        }
        .into(),
        queue::DeleteOk { message_count: int }.into(),
        queue::Unbind {
            queue: a,
            exchange: b,
            routing_key: c,
            arguments: table,
        }
        .into(),
        queue::UnbindOk {}.into(),
        basic::Qos {
            prefetch_size: int,
            prefetch_count: short,
            global: t,
        }
        .into(),
        basic::QosOk {}.into(),
        basic::Consume {
            queue: a,
            consumer_tag: b,
            no_local: t,
            no_ack: u,
            exclusive: v,
            nowait: w,
            arguments: table,
        }
        .into(),
        basic::ConsumeOk { consumer_tag: a }.into(),
        basic::Cancel {
            consumer_tag: a,
            nowait: t,
        }
        .into(),
        basic::CancelOk { consumer_tag: a }.into(),
        basic::Publish {
            exchange: a,
            routing_key: b,
            mandatory: t,
            immediate: u,
        }
        .into(),
        basic::Return {
            reply_code: short,
            reply_text: a,
            exchange: b,
            routing_key: c,
        }
        .into(),
        basic::Deliver {
            consumer_tag: a,
            delivery_tag: n,
            redelivered: t,
            exchange: b,
            routing_key: c,
        }
        .into(),
        basic::Get {
            queue: d,
            no_ack: t,
        }
        .into(),
        basic::GetOk {
            delivery_tag: n,
            redelivered: t,
            exchange: a,
            routing_key: b,
            message_count: int,
        }
        .into(),
        basic::GetEmpty {}.into(),
        basic::Ack {
            delivery_tag: n,
            multiple: t,
        }
        .into(),
        basic::Reject {
            delivery_tag: n,
            requeue: t,
        }
        .into(),
        basic::RecoverAsync { requeue: t }.into(),
        basic::Recover { requeue: t }.into(),
        basic::RecoverOk {}.into(),
        basic::Nack {
            delivery_tag: n,
            multiple: t,
            requeue: u,
        }
        .into(),
        confirm::Select { nowait: t }.into(),
        confirm::SelectOk {}.into(),
        tx::Select {}.into(),
        tx::SelectOk {}.into(),
        tx::Commit {}.into(),
        tx::CommitOk {}.into(),
        tx::Rollback {}.into(),
        tx::RollbackOk {}.into(),
    ]
}

pub(crate) fn properties(arguments: &Arguments, present: u16) -> Properties<'_> {
    let [a, b, c, d] = &arguments.names;
    let n = arguments.number;
    let has = |bit: u32| present & (1 << bit) != 0;
    let name = |bit, name| has(bit).then(|| ShortStr::from(name));
    Properties {
        content_type: name(0, a),
        content_encoding: name(1, b),
        headers: has(2).then(|| arguments.table.as_table()),
        delivery_mode: has(3).then_some(n as u8),
        priority: has(4).then_some((n >> 8) as u8),
        correlation_id: name(5, c),
        reply_to: name(6, d),
        expiration: name(7, a),
        message_id: name(8, b),
        timestamp: has(9).then_some(n),
        type_: name(10, c),
        user_id: name(11, d),
        app_id: name(12, a),
        cluster_id: name(13, b),
    }
}
