/* SPDX-License-Identifier: Apache-2.0 */
/* user32, gdi32, advapi32, shell32, shlwapi, ole32, oleaut32, wininet, winsock, version: what programs ask for. */
#include "check.h"
#include <objbase.h>
#include <oleauto.h>
#include <shellapi.h>
#include <shlobj.h>
#include <shlwapi.h>
#include <string.h>
#include <wincrypt.h>
#include <wininet.h>
#include <winsock2.h>

static int created, destroyed, timed, commands, sized;

static LRESULT CALLBACK window(HWND handle, UINT message, WPARAM wparam, LPARAM lparam) {
    switch (message) {
    case WM_CREATE:
        created += ((CREATESTRUCTA *)lparam)->lpCreateParams == (void *)0x1234;
        return 0;
    case WM_SIZE:
        sized++;
        return 0;
    case WM_TIMER:
        if (++timed == 2) DestroyWindow(handle);
        return 0;
    case WM_DESTROY:
        destroyed++;
        PostQuitMessage(17);
        return 0;
    case WM_USER:
        return wparam + lparam;
    }
    return DefWindowProcA(handle, message, wparam, lparam);
}

static INT_PTR CALLBACK dialog(HWND handle, UINT message, WPARAM wparam, LPARAM lparam) {
    char buffer[16];
    if (message == WM_INITDIALOG) {
        CHECK(lparam == 77 && SetDlgItemTextA(handle, 100, "typed") && GetDlgItem(handle, 100) != NULL);
        return TRUE;
    }
    if (message == WM_COMMAND && ++commands) {
        CHECK(GetDlgItemTextA(handle, 100, buffer, 16) == 5 && strcmp(buffer, "typed") == 0);
        EndDialog(handle, 5);
    }
    return FALSE;
}

static void windows(void) {
    HINSTANCE instance = GetModuleHandleA(NULL);
    WNDCLASSA class = { 0, window, 0, 0, instance, NULL, NULL, NULL, NULL, "umbra-test" };
    char buffer[32];
    MSG message;
    CHECK(CreateWindowExA(0, "no-such-class", "", 0, 0, 0, 0, 0, NULL, NULL, instance, NULL) == NULL && GetLastError() == ERROR_CANNOT_FIND_WND_CLASS);
    CHECK(RegisterClassA(&class) && !RegisterClassA(&class) && GetLastError() == ERROR_CLASS_ALREADY_EXISTS);
    HWND handle = CreateWindowExA(0, "umbra-test", "Title", WS_OVERLAPPEDWINDOW, 10, 20, 300, 200, NULL, NULL, instance, (void *)0x1234);
    CHECK(handle && created == 1 && sized == 1 && IsWindow(handle) && !IsWindowVisible(handle));
    ShowWindow(handle, SW_SHOW);
    CHECK(IsWindowVisible(handle) && GetWindowTextA(handle, buffer, 32) == 5 && FindWindowA("umbra-test", NULL) == handle);
    CHECK(SendMessageA(handle, WM_USER, 3, 4) == 7 && SetWindowLongA(handle, GWL_USERDATA, 99) == 0 && GetWindowLongA(handle, GWL_USERDATA) == 99);
    CHECK(SetTimer(handle, 1, 50, NULL) == 1);
    while (GetMessageA(&message, NULL, 0, 0) > 0) DispatchMessageA(&message);
    CHECK(message.wParam == 17 && timed == 2 && destroyed == 1 && !IsWindow(handle));
    CHECK(DialogBoxParamA(instance, MAKEINTRESOURCEA(5), NULL, dialog, 77) == 5 && commands == 1);
    CHECK(LoadStringA(instance, 18, buffer, 32) == 8 && strcmp(buffer, "eighteen") == 0 && LoadStringA(instance, 99, buffer, 32) == 0);
    HRSRC found = FindResourceA(instance, "DATA", RT_RCDATA);
    CHECK(found && SizeofResource(instance, found) == 5 && memcmp(LockResource(LoadResource(instance, found)), "bytes", 5) == 0);
    CHECK(FindResourceA(instance, "NONE", RT_RCDATA) == NULL && GetLastError() == ERROR_RESOURCE_NAME_NOT_FOUND);
    RECT a = { 0, 0, 10, 10 }, b = { 5, 5, 20, 20 }, c;
    CHECK(IntersectRect(&c, &a, &b) && c.left == 5 && c.bottom == 10 && PtInRect(&c, (POINT){ 6, 6 }));
    POINT before, after;
    GetCursorPos(&before);
    Sleep(2000);
    GetCursorPos(&after);
    CHECK(before.x != after.x || before.y != after.y);
    CHECK(GetSystemMetrics(SM_CXSCREEN) > 800 && CharUpperA((char *)'a') == (char *)'A' && wsprintfA(buffer, "%5d|%-4s|%X", 7, "ab", 255) == 13);
}

static void registry(void) {
    HKEY key;
    DWORD type = 0, size = 64, done = 0, value = 5;
    char buffer[64];
    CHECK(RegOpenKeyExA(HKEY_LOCAL_MACHINE, "SOFTWARE\\None", 0, KEY_READ, &key) == ERROR_FILE_NOT_FOUND);
    CHECK(RegCreateKeyExA(HKEY_CURRENT_USER, "Software\\Umbra\\Test", 0, NULL, 0, KEY_ALL_ACCESS, NULL, &key, &done) == 0 && done == REG_CREATED_NEW_KEY);
    CHECK(RegSetValueExA(key, "text", 0, REG_SZ, (const BYTE *)"value", 6) == 0 && RegSetValueExA(key, "n", 0, REG_DWORD, (BYTE *)&value, 4) == 0);
    CHECK(RegQueryValueExA(key, "TEXT", NULL, &type, (BYTE *)buffer, &size) == 0 && type == REG_SZ && size == 6 && strcmp(buffer, "value") == 0);
    size = 2;
    CHECK(RegQueryValueExA(key, "text", NULL, NULL, (BYTE *)buffer, &size) == ERROR_MORE_DATA && size == 6);
    WCHAR wide[16];
    size = sizeof wide;
    CHECK(RegQueryValueExW(key, L"text", NULL, NULL, (BYTE *)wide, &size) == 0 && size == 12 && wcscmp(wide, L"value") == 0);
    CHECK(RegDeleteValueA(key, "n") == 0 && RegQueryValueExA(key, "n", NULL, NULL, NULL, NULL) == ERROR_FILE_NOT_FOUND && RegCloseKey(key) == 0);
    CHECK(RegOpenKeyA(HKEY_CURRENT_USER, "Software\\Umbra", &key) == 0 && RegEnumKeyA(key, 0, buffer, 64) == 0 && strcmp(buffer, "Test") == 0);
    CHECK(RegEnumKeyA(key, 1, buffer, 64) == ERROR_NO_MORE_ITEMS && RegDeleteKeyA(key, "Test") == 0);
}

static void cryptography(void) {
    HCRYPTPROV provider;
    HCRYPTHASH hash;
    HCRYPTKEY key;
    BYTE digest[20], text[16] = "attack at dawn!";
    DWORD size = sizeof digest, length = 15;
    static const BYTE sha1_abc[] = { 0xa9, 0x99, 0x3e, 0x36 }, md5_abc[] = { 0x90, 0x01, 0x50, 0x98 };
    CHECK(CryptAcquireContextA(&provider, NULL, NULL, PROV_RSA_FULL, CRYPT_VERIFYCONTEXT));
    CHECK(CryptCreateHash(provider, CALG_SHA1, 0, 0, &hash) && CryptHashData(hash, (const BYTE *)"abc", 3, 0));
    CHECK(CryptGetHashParam(hash, HP_HASHVAL, digest, &size, 0) && size == 20 && memcmp(digest, sha1_abc, 4) == 0);
    CHECK(CryptDestroyHash(hash) && CryptCreateHash(provider, CALG_MD5, 0, 0, &hash) && CryptHashData(hash, (const BYTE *)"abc", 3, 0));
    size = sizeof digest;
    CHECK(CryptGetHashParam(hash, HP_HASHVAL, digest, &size, 0) && size == 16 && memcmp(digest, md5_abc, 4) == 0);
    CHECK(CryptDeriveKey(provider, CALG_RC4, hash, 128 << 16, &key) && CryptEncrypt(key, 0, TRUE, 0, text, &length, 16));
    CHECK(memcmp(text, "attack", 6) != 0 && CryptDecrypt(key, 0, TRUE, 0, text, &length) && memcmp(text, "attack at dawn!", 15) == 0);
    CHECK(!CryptCreateHash(provider, 0x7777, 0, 0, &hash));
}

static void shell(void) {
    char path[MAX_PATH] = "C:\\dir\\file.txt";
    int count = 0;
    CHECK(PathFindFileNameA(path) == path + 7 && strcmp(PathFindExtensionA(path), ".txt") == 0 && PathRemoveFileSpecA(path) && strcmp(path, "C:\\dir") == 0);
    CHECK(PathAppendA(path, "..\\x") && strcmp(path, "C:\\x") == 0 && !PathFileExistsA("C:\\nothing") && PathFileExistsA("C:\\Windows"));
    CHECK(StrStrIA("Hello", "LL") && !StrStrA("Hello", "LL") && StrToIntA("12x") == 12);
    CHECK(SHGetFolderPathA(NULL, CSIDL_APPDATA, NULL, 0, path) == S_OK && strstr(path, "Roaming") && SHGetSpecialFolderPathA(NULL, path, CSIDL_WINDOWS, FALSE));
    WCHAR **words = CommandLineToArgvW(L"prog \"a b\" c", &count);
    CHECK(words && count == 3 && wcscmp(words[1], L"a b") == 0);
    CHECK((INT_PTR)ShellExecuteA(NULL, "open", "C:\\nothing.exe", NULL, NULL, 1) == 2);
}

static void objects(void) {
    GUID guid;
    WCHAR text[64];
    void *made = (void *)1;
    CHECK(SUCCEEDED(CoInitialize(NULL)) && CLSIDFromString(L"{00021401-0000-0000-C000-000000000046}", &guid) == S_OK && guid.Data1 == 0x21401);
    CHECK(StringFromGUID2(&guid, text, 64) == 39 && wcscmp(text, L"{00021401-0000-0000-C000-000000000046}") == 0);
    CHECK(CoCreateInstance(&guid, NULL, CLSCTX_ALL, &guid, &made) == REGDB_E_CLASSNOTREG && made == NULL);
    BSTR string = SysAllocString(L"bstr");
    CHECK(string && SysStringLen(string) == 4 && ((DWORD *)string)[-1] == 8);
    SysFreeString(string);
    CHECK(GetProcAddress(GetModuleHandleA("oleaut32"), (char *)2) == (FARPROC)SysAllocString);
}

static void network(void) {
    WSADATA data;
    struct sockaddr_in address = { AF_INET };
    CHECK(WSAStartup(0x202, &data) == 0 && data.wVersion == 0x202 && htons(0x1234) == 0x3412 && htonl(1) == 0x1000000);
    CHECK(inet_addr("127.0.0.1") == 0x100007f && inet_addr("x") == INADDR_NONE && inet_addr("10.1") == 0x100000a);
    address.sin_addr.s_addr = inet_addr("192.0.2.1");
    address.sin_port = htons(80);
    SOCKET socket_handle = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(socket_handle != INVALID_SOCKET && connect(socket_handle, (void *)&address, sizeof address) == SOCKET_ERROR && WSAGetLastError() == WSAENETUNREACH);
    CHECK(closesocket(socket_handle) == 0 && gethostbyname("example.com") == NULL && WSAGetLastError() == WSAHOST_NOT_FOUND);
    HINTERNET session = InternetOpenA("agent", 0, NULL, NULL, 0);
    CHECK(session && InternetOpenUrlA(session, "http://example.com/", NULL, 0, 0, 0) == NULL);
}

int WINAPI WinMain(HINSTANCE instance, HINSTANCE previous, char *line, int shown) {
    windows();
    registry();
    cryptography();
    shell();
    objects();
    network();
    CHECK(shown != SW_HIDE && previous == NULL && line != NULL && instance != NULL);
    FINISH();
    return failures;
}
