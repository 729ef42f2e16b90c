#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| celeriac::fuzzing::fuzz_http_request(data));
