/* SPDX-License-Identifier: Apache-2.0 */
/* Network clients by Winsock, WinINet and URLMON: nothing of the network answers, and each says so its own way. */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>
#include <stdio.h>
#include <urlmon.h>
#include <wininet.h>

int main(void) {
    WSADATA data;
    struct addrinfo hints = { 0, AF_INET, SOCK_STREAM }, *found = NULL;
    struct sockaddr_in address = { AF_INET, htons(80) };
    char name[64] = "";
    u_long flag = 1;
    fd_set writable;
    struct timeval wait = { 1, 0 };
    printf("start %d\n", WSAStartup(MAKEWORD(2, 2), &data));
    int got = gethostname(name, sizeof name);
    printf("name %d %d\n", got, name[0] != 0);
    printf("lookup %d\n", getaddrinfo("update.example.com", "80", &hints, &found));
    SOCKET handle = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    address.sin_addr.s_addr = inet_addr("198.51.100.7");
    got = connect(handle, (void *)&address, sizeof address);
    printf("connect %d %d\n", got, WSAGetLastError());
    got = send(handle, "x", 1, 0);
    printf("send %d %d\n", got, WSAGetLastError());
    ioctlsocket(handle, FIONBIO, &flag);
    FD_ZERO(&writable);
    FD_SET(handle, &writable);
    printf("select %d\n", select(0, NULL, &writable, NULL, &wait));
    closesocket(handle);
    SOCKET server = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = INADDR_ANY;
    printf("listen %d %d\n", bind(server, (void *)&address, sizeof address), listen(server, 5));
    WSACleanup();
    printf("connected %d\n", InternetGetConnectedState(&flag, 0));
    HINTERNET session = InternetOpenA("Mozilla/4.0", INTERNET_OPEN_TYPE_PRECONFIG, NULL, NULL, 0);
    HINTERNET connection = InternetConnectA(session, "update.example.com", 80, NULL, NULL, INTERNET_SERVICE_HTTP, 0, 0);
    HINTERNET request = HttpOpenRequestA(connection, "GET", "/file", NULL, NULL, NULL, 0, 0);
    BOOL sent = HttpSendRequestA(request, NULL, 0, NULL, 0);
    printf("request %d %lu\n", sent, GetLastError());
    InternetCloseHandle(request);
    InternetCloseHandle(connection);
    InternetCloseHandle(session);
    HRESULT result = URLDownloadToFileA(NULL, "http://update.example.com/a.exe", "a.exe", 0, NULL);
    printf("download %d %lx\n", FAILED(result), GetFileAttributesA("a.exe"));
    return 0;
}
