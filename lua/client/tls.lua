-- SPDX-License-Identifier: Apache-2.0
--
-- TLS on a socket of client.socket, by the system's OpenSSL through FFI. The result has the same
-- functions as the socket: wait, receive, send, close.
--
-- OpenSSL works on two pieces of memory, because its own writing to a socket would end a process
-- whose peer has gone (SIGPIPE). What has been encrypted and not sent yet is kept in the second of
-- them; `send` says that it has taken bytes only when that is empty again.

local ffi = require('ffi')

if not pcall(ffi.typeof, 'struct perigee_ssl') then
    ffi.cdef([[
struct perigee_ssl;
struct perigee_ssl_ctx;
struct perigee_bio;
const void *perigee_TLS_client_method(void) __asm__("TLS_client_method");
struct perigee_ssl_ctx *perigee_SSL_CTX_new(const void *) __asm__("SSL_CTX_new");
void perigee_SSL_CTX_free(struct perigee_ssl_ctx *) __asm__("SSL_CTX_free");
long perigee_SSL_CTX_ctrl(struct perigee_ssl_ctx *, int, long, void *) __asm__("SSL_CTX_ctrl");
void perigee_SSL_CTX_set_verify(struct perigee_ssl_ctx *, int, void *) __asm__("SSL_CTX_set_verify");
int perigee_SSL_CTX_load_verify_file(struct perigee_ssl_ctx *, const char *)
    __asm__("SSL_CTX_load_verify_file");
int perigee_SSL_CTX_set_default_verify_paths(struct perigee_ssl_ctx *)
    __asm__("SSL_CTX_set_default_verify_paths");
int perigee_SSL_CTX_use_certificate_chain_file(struct perigee_ssl_ctx *, const char *)
    __asm__("SSL_CTX_use_certificate_chain_file");
int perigee_SSL_CTX_use_PrivateKey_file(struct perigee_ssl_ctx *, const char *, int)
    __asm__("SSL_CTX_use_PrivateKey_file");
int perigee_SSL_CTX_check_private_key(const struct perigee_ssl_ctx *) __asm__("SSL_CTX_check_private_key");
struct perigee_ssl *perigee_SSL_new(struct perigee_ssl_ctx *) __asm__("SSL_new");
void perigee_SSL_free(struct perigee_ssl *) __asm__("SSL_free");
void perigee_SSL_set_bio(struct perigee_ssl *, struct perigee_bio *, struct perigee_bio *)
    __asm__("SSL_set_bio");
void perigee_SSL_set_connect_state(struct perigee_ssl *) __asm__("SSL_set_connect_state");
long perigee_SSL_ctrl(struct perigee_ssl *, int, long, void *) __asm__("SSL_ctrl");
int perigee_SSL_set1_host(struct perigee_ssl *, const char *) __asm__("SSL_set1_host");
void *perigee_SSL_get0_param(struct perigee_ssl *) __asm__("SSL_get0_param");
int perigee_X509_VERIFY_PARAM_set1_ip_asc(void *, const char *) __asm__("X509_VERIFY_PARAM_set1_ip_asc");
int perigee_SSL_do_handshake(struct perigee_ssl *) __asm__("SSL_do_handshake");
int perigee_SSL_read(struct perigee_ssl *, void *, int) __asm__("SSL_read");
int perigee_SSL_write(struct perigee_ssl *, const void *, int) __asm__("SSL_write");
int perigee_SSL_shutdown(struct perigee_ssl *) __asm__("SSL_shutdown");
int perigee_SSL_get_error(const struct perigee_ssl *, int) __asm__("SSL_get_error");
long perigee_SSL_get_verify_result(const struct perigee_ssl *) __asm__("SSL_get_verify_result");
const char *perigee_X509_verify_cert_error_string(long) __asm__("X509_verify_cert_error_string");
const void *perigee_BIO_s_mem(void) __asm__("BIO_s_mem");
struct perigee_bio *perigee_BIO_new(const void *) __asm__("BIO_new");
int perigee_BIO_read(struct perigee_bio *, void *, int) __asm__("BIO_read");
int perigee_BIO_write(struct perigee_bio *, const void *, int) __asm__("BIO_write");
int perigee_BIO_free(struct perigee_bio *) __asm__("BIO_free");
struct perigee_bio *perigee_BIO_new_mem_buf(const void *, int) __asm__("BIO_new_mem_buf");
struct perigee_x509;
struct perigee_x509 *perigee_PEM_read_bio_X509(struct perigee_bio *, void *, void *, void *)
    __asm__("PEM_read_bio_X509");
void perigee_X509_free(struct perigee_x509 *) __asm__("X509_free");
void *perigee_SSL_CTX_get_cert_store(const struct perigee_ssl_ctx *) __asm__("SSL_CTX_get_cert_store");
int perigee_X509_STORE_add_cert(void *, struct perigee_x509 *) __asm__("X509_STORE_add_cert");
unsigned long perigee_ERR_get_error(void) __asm__("ERR_get_error");
void perigee_ERR_clear_error(void) __asm__("ERR_clear_error");
void perigee_ERR_error_string_n(unsigned long, char *, size_t) __asm__("ERR_error_string_n");
]])
end

local VERIFY_NONE, VERIFY_PEER, FILETYPE_PEM = 0, 1, 1
local ERROR_WANT_READ, ERROR_ZERO_RETURN = 2, 6
local CTRL_SET_HOSTNAME, CTRL_SET_MIN_PROTOCOL, TLS1_2 = 55, 123, 0x0303
local CHUNK_BYTES = 65536
local ROOM_BYTES = 65536
local POLLIN, POLLOUT = 1, 4
local CLOSED = 'the connection is closed'

local tls, methods = {}, {}
methods.__index = methods

local library -- libssl, with which libcrypto comes
local room = ffi.new('char[?]', ROOM_BYTES)

local function load()
    for _, name in ipairs({ 'libssl.so.3', 'ssl' }) do
        local ok, found = pcall(ffi.load, name)
        if ok then
            library = found
            return true
        end
    end
    return nil, 'TLS needs OpenSSL 3 (libssl.so.3), which is not there'
end

--- What OpenSSL has to say.
local function reason()
    local code = library.perigee_ERR_get_error()
    library.perigee_ERR_clear_error()
    if code == 0 then
        return 'it has broken off'
    end
    library.perigee_ERR_error_string_n(code, room, ROOM_BYTES)
    local text = ffi.string(room)
    return text:match('([^:]+)$') or text
end

local function context_failed(context, what)
    local message = what .. ': ' .. reason()
    library.perigee_SSL_CTX_free(context)
    return nil, message
end

local function certificate_load(context, options)
    local key = options.key or options.cert
    return library.perigee_SSL_CTX_use_certificate_chain_file(context, options.cert) == 1
        and library.perigee_SSL_CTX_use_PrivateKey_file(context, key, FILETYPE_PEM) == 1
        and library.perigee_SSL_CTX_check_private_key(context) == 1
end

--- Believes the certificates of a text; false when there are none in it, or one is broken.
local function certificates_add(context, text)
    local input = library.perigee_BIO_new_mem_buf(text, #text)
    local store, count, added = library.perigee_SSL_CTX_get_cert_store(context), 0, true
    repeat
        local certificate = library.perigee_PEM_read_bio_X509(input, nil, nil, nil)
        if certificate ~= nil then
            count = count + 1
            added = library.perigee_X509_STORE_add_cert(store, certificate) == 1
            library.perigee_X509_free(certificate)
        end
    until certificate == nil or not added
    library.perigee_BIO_free(input)
    local _, whole = text:gsub('%-%-%-%-%-BEGIN ', '')
    return added and count > 0 and count == whole
end

--- A file, or a text of PEM.
local function authority_load(context, ca)
    if ca:find('^%s*%-%-%-%-%-BEGIN ') then
        return certificates_add(context, ca)
    end
    return library.perigee_SSL_CTX_load_verify_file(context, ca) == 1
end

local function context_new(options)
    library.perigee_ERR_clear_error()
    local context = library.perigee_SSL_CTX_new(library.perigee_TLS_client_method())
    if context == nil then
        return nil, reason()
    end
    library.perigee_SSL_CTX_ctrl(context, CTRL_SET_MIN_PROTOCOL, TLS1_2, nil)
    library.perigee_SSL_CTX_set_verify(context, options.verify == false and VERIFY_NONE or VERIFY_PEER, nil)
    if options.ca then
        if not authority_load(context, options.ca) then
            return context_failed(context, options.ca:match('^[^\n]*'))
        end
    else
        library.perigee_SSL_CTX_set_default_verify_paths(context)
    end
    if options.cert and not certificate_load(context, options) then
        return context_failed(context, options.cert)
    end
    return context
end

-- ------------------------------------------------------------------------------------ bytes

--- Sends what has been encrypted; true when all of it is gone, false when the socket takes no more.
local function flush(self)
    while true do
        if self.pending == '' then
            local size = library.perigee_BIO_read(self.outgoing, room, ROOM_BYTES)
            if size <= 0 then
                return true
            end
            self.pending = ffi.string(room, size)
        end
        local sent, message = self.socket:send(self.pending, 1)
        if not sent then
            return nil, message
        end
        self.pending = self.pending:sub(sent + 1)
        if self.pending ~= '' then
            return false
        end
    end
end

--- What can be decrypted now; the second result is what SSL_read has ended with.
local function decrypt(self)
    local parts = {}
    while true do
        library.perigee_ERR_clear_error()
        local size = library.perigee_SSL_read(self.ssl, room, ROOM_BYTES)
        if size <= 0 then
            return table.concat(parts), library.perigee_SSL_get_error(self.ssl, size)
        end
        parts[#parts + 1] = ffi.string(room, size)
    end
end

function methods:wait(events, deadline)
    self.socket.interrupted = self.interrupted
    if self.pending ~= '' and events % (2 * POLLOUT) < POLLOUT then
        events = events + POLLOUT -- what is still to be sent may be what the answer waits for
    end
    local ready, message = self.socket:wait(events, deadline)
    if not self.ssl then
        return nil, CLOSED -- by another fiber
    elseif ready and self.pending ~= '' then
        local flushed, problem = flush(self)
        if flushed == nil then
            return nil, problem
        end
    end
    return ready, message
end

--- As the socket's: '' when nothing has come.
function methods:receive()
    if not self.ssl then
        return nil, CLOSED
    end
    local text, ended = decrypt(self)
    if text == '' and ended == ERROR_WANT_READ then
        local bytes, message = self.socket:receive()
        if not bytes then
            return nil, message
        elseif bytes == '' then
            return ''
        end
        library.perigee_BIO_write(self.incoming, bytes, #bytes)
        text, ended = decrypt(self)
    end
    if text ~= '' then
        return text
    elseif ended == ERROR_ZERO_RETURN then
        return nil, 'the server has closed the connection'
    elseif ended ~= ERROR_WANT_READ then
        return nil, 'TLS: ' .. reason()
    end
    local flushed, message = flush(self) -- new keys are answered
    return flushed ~= nil and '' or nil, message
end

--- As the socket's. What has been encrypted and not gone out is owed to the next call.
function methods:send(text, from)
    if not self.ssl then
        return nil, CLOSED
    elseif self.owed == 0 then
        local size = math.min(#text - from + 1, CHUNK_BYTES)
        library.perigee_ERR_clear_error()
        local data = ffi.cast('const char *', text) + (from - 1)
        if library.perigee_SSL_write(self.ssl, data, size) ~= size then
            return nil, 'TLS: ' .. reason()
        end
        self.owed = size
    end
    local flushed, message = flush(self)
    if flushed == nil then
        return nil, message
    end
    local done = flushed and self.owed or 0
    self.owed = self.owed - done
    return done
end

function methods:close()
    if not self.ssl then
        return
    end
    if self.open then
        library.perigee_SSL_shutdown(self.ssl)
        library.perigee_ERR_clear_error()
        flush(self)
    end
    local ssl = self.ssl
    self.ssl = nil -- first: what ends code that has run too long may do so at any place
    library.perigee_SSL_free(ffi.gc(ssl, nil))
    self.socket:close()
end

-- -------------------------------------------------------------------------------- connecting

local function handshake_problem(self)
    local verified = library.perigee_SSL_get_verify_result(self.ssl)
    if verified ~= 0 then
        library.perigee_ERR_clear_error()
        local why = library.perigee_X509_verify_cert_error_string(verified)
        return "the server's certificate: " .. ffi.string(why)
    end
    return 'TLS: ' .. reason()
end

local function handshake(self, deadline)
    while true do
        library.perigee_ERR_clear_error()
        local result = library.perigee_SSL_do_handshake(self.ssl)
        local problem = result ~= 1 and library.perigee_SSL_get_error(self.ssl, result) ~= ERROR_WANT_READ
            and handshake_problem(self)
        local flushed, message = flush(self)
        if problem or flushed == nil then
            return nil, problem or message
        elseif result == 1 then
            self.open = true
            return self
        end
        local ready
        ready, message = self.socket:wait(flushed and POLLIN or POLLIN + POLLOUT, deadline)
        if not ready then
            return nil, message
        end
        local bytes
        bytes, message = self.socket:receive()
        if not bytes then
            return nil, message
        elseif #bytes > 0 then
            library.perigee_BIO_write(self.incoming, bytes, #bytes)
        end
    end
end

--- The name that the certificate must be for: a host's name or its number.
local function name_set(ssl, name)
    if library.perigee_X509_VERIFY_PARAM_set1_ip_asc(library.perigee_SSL_get0_param(ssl), name) == 1 then
        return true
    end
    library.perigee_ERR_clear_error()
    return library.perigee_SSL_set1_host(ssl, name) == 1
        and library.perigee_SSL_ctrl(ssl, CTRL_SET_HOSTNAME, 0, ffi.cast('void *', name)) == 1
end

--- Begins TLS on a connected socket, which is closed when that fails. `options`: {ca, cert, key, files of
--- PEM, of which ca may be the text of one; hostname, that the certificate must be for instead of `host`;
--- verify = false: believes anybody}.
---@param socket table of client.socket
---@param host string
---@param options table
---@param deadline number?
---@return table|nil socket, string? error
function tls.wrap(socket, host, options, deadline)
    local ok, message = library or load()
    local context
    if ok then
        context, message = context_new(options)
    end
    if not context then
        socket:close()
        return nil, message
    end
    local ssl = ffi.gc(library.perigee_SSL_new(context), library.perigee_SSL_free)
    library.perigee_SSL_CTX_free(context) -- the connection has it still
    local self = setmetatable({
        socket = socket,
        ssl = ssl,
        incoming = library.perigee_BIO_new(library.perigee_BIO_s_mem()),
        outgoing = library.perigee_BIO_new(library.perigee_BIO_s_mem()),
        pending = '', -- encrypted, taken from `outgoing`, not sent
        owed = 0,     -- bytes of `send` that are encrypted and about which it has not said so
    }, methods)
    library.perigee_SSL_set_bio(ssl, self.incoming, self.outgoing)
    library.perigee_SSL_set_connect_state(ssl)
    local connected
    if not name_set(ssl, options.hostname or host) then
        message = 'no certificate can be for ' .. (options.hostname or host)
    else
        connected, message = handshake(self, deadline)
    end
    if not connected then
        self:close()
        return nil, message
    end
    return self
end

return tls
