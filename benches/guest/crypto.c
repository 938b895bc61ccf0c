/* OpenSSL, which takes what extensions of the instruction set it finds. */
#include "measure.h"
#include <openssl/evp.h>
#include <openssl/rsa.h>

#define PIECE 16384
static EVP_CIPHER_CTX *cipher;
static uint8_t plain[PIECE], encrypted[PIECE + 64];

static int start(const EVP_CIPHER *kind) {
    static const uint8_t KEY[32] = {1}, IV[16] = {2};
    cipher = EVP_CIPHER_CTX_new();
    return !cipher || !EVP_EncryptInit_ex(cipher, kind, NULL, KEY, IV);
}

static int start_gcm(void) {
    return start(EVP_aes_128_gcm());
}
static int start_cbc(void) {
    return start(EVP_aes_128_cbc());
}
static int start_chacha(void) {
    return start(EVP_chacha20_poly1305());
}
static void finish(void) {
    EVP_CIPHER_CTX_free(cipher);
}

static void encrypt(uint64_t n) {
    int length;
    while (n--)
        EVP_EncryptUpdate(cipher, encrypted, &length, plain, PIECE);
    sink = encrypted[5];
}

static void sha256(uint64_t n) {
    uint8_t digest[64];
    unsigned length;
    while (n--)
        EVP_Digest(plain, PIECE, digest, &length, EVP_sha256(), NULL);
    sink = digest[3];
}

static EVP_PKEY_CTX *signer;

static int start_rsa(void) {
    EVP_PKEY *key = EVP_RSA_gen(2048);
    if (!key)
        return 1;
    signer = EVP_PKEY_CTX_new(key, NULL);
    return !signer || EVP_PKEY_sign_init(signer) <= 0;
}

static void sign(uint64_t n) {
    uint8_t digest[32] = {5}, signature[256];
    while (n--) {
        size_t length = sizeof signature;
        EVP_PKEY_sign(signer, signature, &length, digest, sizeof digest);
    }
    sink = signature[1];
}

const struct measure crypto[] = {
    {"crypto.sha256", sha256, 0, NULL, NULL},
    {"crypto.aes128gcm", encrypt, 0, start_gcm, finish},
    {"crypto.aes128cbc", encrypt, 0, start_cbc, finish},
    {"crypto.chacha20poly", encrypt, 0, start_chacha, finish},
    {"crypto.rsa2048_sign", sign, 0, start_rsa, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
