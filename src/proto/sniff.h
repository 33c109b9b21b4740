/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_SNIFF_H
#define PROTO_SNIFF_H

/*
 * Which protocol a connection speaks, told by its first byte. MessagePack-RPC begins with the
 * header of an array of four (request) or three (notification); those bytes are no text, so RESP
 * never begins with them.
 */
enum proto_kind { PROTO_UNKNOWN, PROTO_RESP, PROTO_RPC };

static inline enum proto_kind proto_sniff(unsigned char first)
{
    if (first == 0x94 || first == 0x93)
        return PROTO_RPC;
    /* '*', or an inline command; or an empty line before either. */
    if ((first > 0x20 && first < 0x7f) || first == ' ' || first == '\t' || first == '\r' ||
        first == '\n')
        return PROTO_RESP;
    return PROTO_UNKNOWN;
}

#endif
