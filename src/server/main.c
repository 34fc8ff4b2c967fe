/* main.c: vecdb-server. Everything is in server.c; tests link the rest of this folder without this file. */
#include "server/server.h"

int main(int argc, char **argv)
{
    return vdb_server_run(argc, argv);
}
