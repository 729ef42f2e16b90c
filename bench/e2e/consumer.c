/* The least that a consumer can be: librabbitmq, and a note of the time at which a message is there.
 *
 *   consumer HOST PORT QUEUE FILE     FILE holds 8 octets: CLOCK_MONOTONIC in nanoseconds, as `bench_app.py` has it
 *
 * Acknowledges what it gets, after it has noted the time.
 */
#include <fcntl.h>
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static void check(int good, const char *what) {
    if (!good) {
        fprintf(stderr, "consumer: %s failed\n", what);
        exit(1);
    }
}

int main(int count, char **words) {
    check(count == 5, "reading four arguments");
    int file = open(words[4], O_RDWR);
    volatile int64_t *stamp = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    check(file >= 0 && stamp != MAP_FAILED, "mapping the file");

    amqp_connection_state_t broker = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(broker);
    check(amqp_socket_open(socket, words[1], atoi(words[2])) == 0, "connecting");
    amqp_rpc_reply_t reply = amqp_login(broker, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
    check(reply.reply_type == AMQP_RESPONSE_NORMAL, "logging in");
    check(amqp_channel_open(broker, 1) != NULL, "opening a channel");
    check(amqp_basic_qos(broker, 1, 0, 8, 0) != NULL, "setting the prefetch count");
    amqp_bytes_t queue = amqp_cstring_bytes(words[3]);
    check(amqp_basic_consume(broker, 1, queue, amqp_empty_bytes, 0, 0, 0, amqp_empty_table) != NULL, "consuming");

    for (;;) {
        amqp_envelope_t envelope;
        amqp_maybe_release_buffers(broker);
        reply = amqp_consume_message(broker, &envelope, NULL, 0);
        if (reply.reply_type != AMQP_RESPONSE_NORMAL) return 0; /* the broker is gone */
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        *stamp = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
        amqp_basic_ack(broker, 1, envelope.delivery_tag, 0);
        amqp_destroy_envelope(&envelope);
    }
}
