// SPDX-License-Identifier: Apache-2.0
// A GUI program to be packed: reads its resources, opens a window, and leaves when it is asked to close.
#include <windows.h>

static const char CLASS[] = "UmbraWindow";

static LRESULT CALLBACK procedure(HWND window, UINT message, WPARAM w, LPARAM l)
{
    if (message == WM_DESTROY) {
        PostQuitMessage(3);
        return 0;
    }
    return DefWindowProcA(window, message, w, l);
}

/** Adds up the bytes of a resource of its own. */
static unsigned checksum(HINSTANCE instance)
{
    unsigned sum = 0;
    HRSRC found = FindResourceA(instance, MAKEINTRESOURCEA(300), (LPCSTR)RT_RCDATA);
    HGLOBAL loaded = found ? LoadResource(instance, found) : NULL;
    const BYTE *bytes = loaded ? LockResource(loaded) : NULL;
    for (DWORD at = 0; bytes && at < SizeofResource(instance, found); at++)
        sum = sum * 31 + bytes[at];
    return sum;
}

int WINAPI WinMain(HINSTANCE instance, HINSTANCE previous, LPSTR line, int show)
{
    char title[64], text[128];
    (void)previous;
    (void)line;
    if (LoadStringA(instance, 100, title, sizeof title) == 0)
        return 1;
    wsprintfA(text, "%s: %08x", title, checksum(instance));
    WNDCLASSA class = {
        .lpfnWndProc = procedure,
        .hInstance = instance,
        .hIcon = LoadIconA(instance, MAKEINTRESOURCEA(200)),
        .hCursor = LoadCursorA(NULL, (LPCSTR)IDC_ARROW),
        .hbrBackground = (HBRUSH)(COLOR_WINDOW + 1),
        .lpszClassName = CLASS,
    };
    if (!RegisterClassA(&class))
        return 2;
    HWND window = CreateWindowExA(0, CLASS, title, WS_OVERLAPPEDWINDOW, 40, 40, 320, 200, NULL, NULL, instance, NULL);
    if (!window)
        return 4;
    ShowWindow(window, show);
    UpdateWindow(window);
    MessageBoxA(window, text, title, MB_OK);
    PostMessageA(window, WM_CLOSE, 0, 0);
    MSG message;
    while (GetMessageA(&message, NULL, 0, 0) > 0) {
        TranslateMessage(&message);
        DispatchMessageA(&message);
    }
    return (int)message.wParam;
}
