/** For files of tests that all want the communicator over all ranks. */
#ifndef COTERIE_TEST_COMM_H
#define COTERIE_TEST_COMM_H

#include <coterie/comm.h>

/** It is there while a test of this kind runs. */
extern cot_comm *comm;
int create_comm(void **unused);
int destroy_comm(void **unused);
#define TEST_ON_COMM(function) cmocka_unit_test_setup_teardown(function, create_comm, destroy_comm)

#endif
