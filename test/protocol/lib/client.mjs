// SPDX-License-Identifier: Apache-2.0
//
// A client of MessagePack-RPC, written from docs/protocol.md and nothing else, with npm's MessagePack.

import { EventEmitter } from 'node:events';
import net from 'node:net';
import { ExtData, decodeMultiStream, encode } from '@msgpack/msgpack';

const REQUEST = 0, RESPONSE = 1, NOTIFICATION = 2, OPTIONS = 1;

export class RpcError extends Error {
    constructor({ code, name, message, trace, details }) {
        super(message);
        Object.assign(this, { code, name, trace, details });
    }
}

/** Emits 'message' (channel, payload) and 'pmessage' (pattern, channel, payload). */
export class Client extends EventEmitter {
    static async connect(port, host = '127.0.0.1') {
        const client = new Client();
        client.nextId = 1;
        client.waiting = new Map();
        client.socket = net.connect({ port, host, noDelay: true });
        await new Promise((resolve, reject) => client.socket.once('connect', resolve).once('error', reject));
        client.ended = client.listen();
        return client;
    }

    async listen() {
        let reason = new Error('the connection has ended');
        try {
            for await (const message of decodeMultiStream(this.socket)) this.take(message);
        } catch (error) {
            reason = error;
        }
        for (const { reject } of this.waiting.values()) reject(reason);
        this.waiting.clear();
    }

    take([kind, ...rest]) {
        if (kind === RESPONSE) {
            const [id, error, result] = rest;
            const { resolve, reject } = this.waiting.get(id);
            this.waiting.delete(id);
            if (error) reject(new RpcError(error));
            else resolve(result);
        } else if (kind === NOTIFICATION) {
            const [method, params] = rest;
            if (method === 'progress') this.waiting.get(params[0])?.onProgress?.(params[1]);
            else this.emit(method, ...params);
        }
    }

    /** A promise of the result, with the request's id, which cancel takes. */
    request(method, params = [], { stream, onProgress } = {}) {
        const id = this.nextId++;
        const options = stream === undefined ? [] : [new ExtData(OPTIONS, encode({ stream }))];
        const promise = new Promise((resolve, reject) => {
            this.waiting.set(id, { resolve, reject, onProgress });
        });
        this.socket.write(encode([REQUEST, id, method, [...options, ...params]]));
        return Object.assign(promise, { id });
    }

    notify(method, params = []) {
        this.socket.write(encode([NOTIFICATION, method, params]));
    }

    cancel(promise) {
        return this.request('cancel', [promise.id]);
    }

    /** An object with a function for each method and procedure that the server says there is. */
    async api() {
        const { methods, procedures } = await this.request('schema');
        const api = {};
        for (const { name, params } of [...procedures, ...methods]) {
            api[name] = (...args) => {
                const least = (params ?? []).filter((param) => !param.optional && !param.repeated && !param.is_nullable).length;
                if (params && args.length < least)
                    throw new TypeError(`${name}(${params.map((param) => `${param.name}: ${param.type}`).join(', ')})`);
                return this.request(name, args);
            };
        }
        return api;
    }

    close() {
        this.socket.end();
        return this.ended;
    }
}
