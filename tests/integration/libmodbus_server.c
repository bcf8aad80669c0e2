/* A Modbus server on libmodbus that serves holding registers from a file.
 *
 *   libmodbus_server tcp 127.0.0.1 PORT UNIT IMAGE
 *   libmodbus_server rtu DEVICE BAUD   UNIT IMAGE
 *
 * IMAGE has lines "REGISTER VALUE", both as C numbers; registers not in it are 0, those from 0x6000
 * on do not exist. Prints "ready PORT" when it serves (PORT is the one that was chosen where 0 was
 * given). Ends with its standard input.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <modbus/modbus.h>

enum { REGISTERS = 0x6000 };

static int fail(const char *what)
{
    fprintf(stderr, "libmodbus_server: %s: %s\n", what, modbus_strerror(errno));
    return 1;
}

static int load(const char *path, modbus_mapping_t *image)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return -1;
    char first[32], second[32];
    while (fscanf(file, "%31s %31s", first, second) == 2) {
        const long at = strtol(first, NULL, 0);
        if (at < 0 || at >= REGISTERS)
            return fclose(file), errno = ERANGE, -1;
        image->tab_registers[at] = (uint16_t) strtol(second, NULL, 0);
    }
    return fclose(file);
}

static void *end_with_input(void *unused)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    (void) unused;
    _exit(0);
}

static void serve(modbus_t *modbus, modbus_mapping_t *image, const int wanted)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    const int unit_at = modbus_get_header_length(modbus) - 1;
    for (;;) {
        const int length = modbus_receive(modbus, query);
        if (length == -1 && (errno == ECONNRESET || errno == EPIPE || errno == ETIMEDOUT))
            return;
        /* libmodbus itself answers every unit over TCP; a meter does not. */
        if (length > 0 && query[unit_at] == wanted)
            modbus_reply(modbus, query, length, image);
    }
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return fprintf(stderr, "usage: %s tcp|rtu PLACE NUMBER UNIT IMAGE\n", argv[0]), 2;
    const int number = atoi(argv[3]), unit = atoi(argv[4]);
    const int over_tcp = strcmp(argv[1], "tcp") == 0;

    modbus_mapping_t *image = modbus_mapping_new(0, 0, REGISTERS, 0);
    if (image == NULL || load(argv[5], image) == -1)
        return fail("image");
    modbus_t *modbus = over_tcp ? modbus_new_tcp(argv[2], number)
                                : modbus_new_rtu(argv[2], number, 'N', 8, 1);
    if (modbus == NULL)
        return fail("context");
    if (!over_tcp)
        modbus_set_slave(modbus, unit);

    pthread_t watcher;
    if (pthread_create(&watcher, NULL, end_with_input, NULL) != 0)
        return fail("thread");
    if (!over_tcp) {
        if (modbus_connect(modbus) == -1)
            return fail(argv[2]);
        puts("ready 0");
        fflush(stdout);
        for (;;)
            serve(modbus, image, unit);
    }
    int listener = modbus_tcp_listen(modbus, 4);
    if (listener == -1)
        return fail("listen");
    struct sockaddr_in chosen;
    socklen_t size = sizeof chosen;
    getsockname(listener, (struct sockaddr *) &chosen, &size);
    printf("ready %d\n", ntohs(chosen.sin_port));
    fflush(stdout);
    while (modbus_tcp_accept(modbus, &listener) != -1)
        serve(modbus, image, unit);
    return fail("accept");
}
