use proptest::prelude::*;

use super::*;

#[track_caller]
fn url(text: &str) -> BrokerUrl {
    BrokerUrl::parse(text).expect("a broker URL")
}

#[track_caller]
fn error(text: &str) -> UrlError {
    BrokerUrl::parse(text).expect_err("not a broker URL")
}

#[test]
fn defaults_are_kombus() {
    for text in [
        "",
        "amqp://",
        "AMQP://",
        "pyamqp://",
        "librabbitmq://",
        " amqp:// ",
    ] {
        let url = url(text);
        assert_eq!((url.host(), url.port()), ("127.0.0.1", 5672), "{text:?}");
        assert_eq!(url, BrokerUrl::default());
        assert_eq!(
            (url.user(), url.password(), url.vhost()),
            ("guest", "guest", "/")
        );
        assert_eq!(
            (url.login_method(), url.heartbeat(), url.connect_timeout()),
            (None, None, None)
        );
        assert!(url.ignored_parameters().is_empty());
    }
}

#[test]
fn one_slash_of_the_path_is_dropped() {
    let table = [
        ("amqp://", "/"),
        ("amqp:///", "/"),
        ("amqp://h", "/"),
        ("amqp://h/", "/"),
        ("amqp:////", "/"),
        ("amqp://h//", "/"),
        ("amqp://h/%2F", "/"),
        ("amqp://h/%2f", "/"),
        ("amqp://h/foo", "foo"),
        ("amqp://h//foo", "/foo"),
        ("amqp://h/%2Ffoo", "/foo"),
        ("amqp://h/v/w", "v/w"),
        ("amqp://h/v?heartbeat=1#frag", "v"),
        ("amqp://h/v#frag?heartbeat=x", "v"),
        ("amqp://h/a%20b%zz%", "a b%zz%"),
    ];
    for (text, vhost) in table {
        assert_eq!(url(text).vhost(), vhost, "{text}");
    }
}

#[test]
fn hosts_and_ports() {
    let table = [
        ("amqp://Broker.Example:5673/v", "broker.example", 5673),
        ("amqp://localhost", "127.0.0.1", 5672),
        ("amqp://LOCALHOST:1", "127.0.0.1", 1),
        ("amqp://[::1]:5672/v", "::1", 5672),
        ("amqp://u:p@[FE80::2]", "fe80::2", 5672),
        ("amqp://h:", "h", 5672),
        ("amqp://h:0", "h", 5672),
        ("amqp://:5673", "127.0.0.1", 5673),
        ("broker", "broker", 5672),
    ];
    for (text, host, port) in table {
        assert_eq!((url(text).host(), url(text).port()), (host, port), "{text}");
    }
}

#[test]
fn user_and_password_default_each_on_its_own() {
    let table = [
        ("amqp://bob@h", "bob", "guest"),
        ("amqp://:secret@h", "guest", "secret"),
        ("amqp://bob:s%40%2F%3A@h", "bob", "s@/:"),
        ("amqp://b%40b:a@b@h", "b@b", "a@b"),
        ("amqp://bob:a:b@h", "bob", "a:b"),
    ];
    for (text, user, password) in table {
        let url = url(text);
        assert_eq!(
            (url.user(), url.password(), url.host()),
            (user, password, "h"),
            "{text}"
        );
    }
}

#[test]
fn parameters() {
    let given =
        url("amqp://h/v?heartbeat=30&connect_timeout=2.5&login_method=amqplain&x=1&b+c=2&blank=");
    assert_eq!(given.heartbeat(), Some(Duration::from_secs(30)));
    assert_eq!(given.connect_timeout(), Some(Duration::from_millis(2500)));
    assert_eq!(given.login_method(), Some(Mechanism::AmqPlain));
    assert_eq!(given.ignored_parameters(), ["x", "b c"]);
    assert_eq!(
        url("amqp://h?heartbeat=0").heartbeat(),
        Some(Duration::ZERO)
    );
    assert_eq!(
        url("amqp://h?heartbeat=1&heartbeat=2").heartbeat(),
        Some(Duration::from_secs(2))
    );

    for (name, value) in [
        ("heartbeat", "soon"),
        ("heartbeat", "-1"),
        ("heartbeat", "nan"),
        ("heartbeat", "inf"),
        ("connect_timeout", "0"),
        ("login_method", "GSSAPI"),
    ] {
        match error(&format!("amqp://h?{name}={value}")) {
            UrlError::Parameter { name: named, .. } => assert_eq!(named, name),
            other => panic!("{name}={value}: {other:?}"),
        }
    }
}

#[test]
fn options_take_what_the_url_says_and_fill_in_the_rest() {
    let given = url("amqp://bob:secret@h/v?heartbeat=0.2&login_method=AMQPLAIN");
    let options = given.options(Duration::from_secs(120), Mechanism::Plain);
    assert_eq!(
        (options.user, options.password),
        ("bob".into(), "secret".into())
    );
    assert_eq!((options.virtual_host, options.heartbeat), ("v".into(), 1));
    assert_eq!(options.mechanism, Some(Mechanism::AmqPlain));

    let options = url("amqp://h").options(Duration::from_secs(120), Mechanism::External);
    assert_eq!(
        (options.heartbeat, options.mechanism),
        (120, Some(Mechanism::External))
    );
    assert_eq!(
        url("amqp://?heartbeat=1e9")
            .options(Duration::ZERO, Mechanism::Plain)
            .heartbeat,
        u16::MAX
    );
}

#[test]
fn tls_is_refused_rather_than_left_out() {
    for (text, by) in [
        ("amqps://h", "amqps://"),
        ("AMQPS://h", "amqps://"),
        ("amqp://h?ssl=true", "ssl"),
        ("amqp://h?ssl_ca_certs=x", "ssl_ca_certs"),
        ("amqp://h?ssl_cert_reqs=none", "ssl_cert_reqs"),
    ] {
        assert_eq!(
            error(text),
            UrlError::TlsUnsupported { by: by.into() },
            "{text}"
        );
    }
}

#[test]
fn other_transports_are_named() {
    for scheme in [
        "redis",
        "rediss",
        "sentinel",
        "memory",
        "filesystem",
        "sqs",
        "sqla+sqlite",
    ] {
        let error = error(&format!("{scheme}://:secret@h/0"));
        assert_eq!(
            error,
            UrlError::UnsupportedScheme {
                scheme: scheme.into()
            }
        );
        let text = error.to_string();
        assert!(text.contains(scheme) && !text.contains("secret"), "{text}");
    }
}

#[test]
fn errors_repeat_no_part_that_could_be_a_secret() {
    let table = [
        ("h:5673/v", UrlError::MissingScheme),
        ("bob:secret@h", UrlError::MissingScheme),
        ("bob:secret@h://x", UrlError::MissingScheme),
        ("://secret", UrlError::MissingScheme),
        ("amqp://bob:secret/1@h", UrlError::Port),
        ("amqp://h:65536", UrlError::Port),
        ("amqp://h:+5", UrlError::Port),
        ("amqp://[::1", UrlError::Brackets),
        ("amqp://secret]", UrlError::Brackets),
        ("amqp://[]:1", UrlError::Brackets),
        ("amqp://[::1]secret", UrlError::Brackets),
    ];
    for (text, expected) in table {
        assert_eq!(error(text), expected, "{text}");
        assert!(!format!("{expected} {expected:?}").contains("secret"));
    }
}

#[test]
fn alternates_keep_their_order() {
    let urls = BrokerUrl::parse_list("amqp://a/x; pyamqp://b:1 ;").expect("two URLs");
    assert_eq!(urls, [url("amqp://a/x"), url("amqp://b:1")]);
    assert_eq!(
        BrokerUrl::parse_list("").expect("the default"),
        [url("amqp://")]
    );
    assert!(BrokerUrl::parse_list("amqp://a;redis://b").is_err());
}

#[test]
fn printed_as_celery_prints_it() {
    let table = [
        ("amqp://", "amqp://guest:**@127.0.0.1:5672//"),
        ("pyamqp://bob:secret@h:1/v", "amqp://bob:**@h:1/v"),
        ("amqp://h//v/w", "amqp://guest:**@h:5672//v/w"),
        (
            "amqp://b%2Fb:p@[::1]/a%20b?heartbeat=1",
            "amqp://b%2Fb:**@[::1]:5672/a%20b",
        ),
    ];
    for (text, printed) in table {
        assert_eq!(url(text).to_string(), printed, "{text}");
        assert_eq!(format!("{:?}", url(text)), format!("BrokerUrl({printed})"));
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_panic(text in ".{0,80}") {
        crate::link::fuzz_broker_url(text.as_bytes());
    }

    #[test]
    fn any_url_survives_a_round_trip(
        user in "\\PC{1,8}", password in "[A-Z]{12}", host in "[a-z]{1,8}|::1", vhost in "\\PC{1,8}", port in 1u16..
    ) {
        let text = format!(
            "amqp://{}:{password}@{}:{port}/{}", Quoted(&user, ""),
            if host.contains(':') { format!("[{host}]") } else { host.clone() }, Quoted(&vhost, ""));
        let read = url(&text);
        prop_assert_eq!((read.user(), read.password()), (user.as_str(), password.as_str()));
        prop_assert_eq!((read.host(), read.vhost(), read.port()), (host.as_str(), vhost.as_str(), port));
        let printed = format!("{read} {read:?}");
        prop_assert!(!printed.contains(&password), "{}", printed);
    }
}
