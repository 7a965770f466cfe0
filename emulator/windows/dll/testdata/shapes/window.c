/* SPDX-License-Identifier: Apache-2.0 */
/* A GUI program: window class, menu, common controls, a modal dialog from resources, painting, timer, its end. */
#include <windows.h>
#include <commctrl.h>
#include <stdio.h>

static int painted, ticks;
static HWND list, progress, status;

static INT_PTR CALLBACK dialog(HWND handle, UINT message, WPARAM wparam, LPARAM lparam) {
    if (message == WM_INITDIALOG) {
        CheckDlgButton(handle, 101, BST_CHECKED);
        SetDlgItemInt(handle, 100, 42, FALSE);
        return TRUE;
    }
    if (message == WM_COMMAND) {
        BOOL fine = FALSE;
        printf("dialog %u %u\n", GetDlgItemInt(handle, 100, &fine, FALSE), IsDlgButtonChecked(handle, 101));
        return EndDialog(handle, LOWORD(wparam));
    }
    return FALSE;
}

static LRESULT CALLBACK procedure(HWND handle, UINT message, WPARAM wparam, LPARAM lparam) {
    PAINTSTRUCT paint;
    RECT area;
    switch (message) {
    case WM_CREATE:
        progress = CreateWindowExA(0, PROGRESS_CLASSA, NULL, WS_CHILD | WS_VISIBLE, 0, 0, 100, 20, handle, NULL, NULL, NULL);
        list = CreateWindowExA(0, WC_LISTVIEWA, NULL, WS_CHILD | LVS_REPORT, 0, 20, 100, 100, handle, NULL, NULL, NULL);
        status = CreateWindowExA(0, STATUSCLASSNAMEA, "ready", WS_CHILD | WS_VISIBLE, 0, 0, 0, 0, handle, NULL, NULL, NULL);
        CreateWindowExA(0, "BUTTON", "Press", WS_CHILD | WS_VISIBLE | BS_PUSHBUTTON, 0, 130, 80, 20, handle, (HMENU)7, NULL, NULL);
        return 0;
    case WM_PAINT: {
        HDC context = BeginPaint(handle, &paint);
        GetClientRect(handle, &area);
        HBRUSH brush = CreateSolidBrush(RGB(1, 2, 3));
        FillRect(context, &area, brush);
        DeleteObject(brush);
        TextOutA(context, 1, 1, "text", 4);
        EndPaint(handle, &paint);
        painted++;
        return 0;
    }
    case WM_TIMER:
        SendMessageA(progress, PBM_SETPOS, ++ticks * 10, 0);
        if (ticks == 3) PostMessageA(handle, WM_CLOSE, 0, 0);
        return 0;
    case WM_COMMAND:
        if (LOWORD(wparam) == 7) printf("pressed\n");
        return 0;
    case WM_DESTROY:
        PostQuitMessage(3);
        return 0;
    }
    return DefWindowProcA(handle, message, wparam, lparam);
}

int WINAPI WinMain(HINSTANCE instance, HINSTANCE previous, LPSTR line, int shown) {
    INITCOMMONCONTROLSEX controls = { sizeof controls, ICC_WIN95_CLASSES };
    WNDCLASSEXA class = { sizeof class, CS_HREDRAW, procedure, 0, 0, instance };
    char title[32];
    MSG message;
    class.hCursor = LoadCursorA(NULL, (LPCSTR)IDC_ARROW);
    class.hIcon = LoadIconA(instance, MAKEINTRESOURCEA(1));
    class.hbrBackground = (HBRUSH)(COLOR_WINDOW + 1);
    class.lpszClassName = "shape";
    class.lpszMenuName = MAKEINTRESOURCEA(2);
    printf("controls %d\n", InitCommonControlsEx(&controls));
    if (!RegisterClassExA(&class)) return 1;
    LoadStringA(instance, 18, title, sizeof title);
    HWND window = CreateWindowExA(0, "shape", title, WS_OVERLAPPEDWINDOW, CW_USEDEFAULT, CW_USEDEFAULT, 400, 300, NULL, NULL, instance, NULL);
    if (!window || !list || !status || !progress) return 2;
    ShowWindow(window, shown);
    UpdateWindow(window);
    GetWindowTextA(window, title, sizeof title);
    printf("window %s, painted %d\n", title, painted > 0);
    SendMessageA(window, WM_COMMAND, 7, 0);
    printf("dialog gave %d\n", (int)DialogBoxParamA(instance, MAKEINTRESOURCEA(5), window, dialog, 0));
    SetTimer(window, 1, 20, NULL);
    HACCEL keys = CreateAcceleratorTableA((ACCEL[]){ { FVIRTKEY, VK_F1, 7 } }, 1);
    while (GetMessageA(&message, NULL, 0, 0) > 0) {
        if (TranslateAcceleratorA(window, keys, &message)) continue;
        TranslateMessage(&message);
        DispatchMessageA(&message);
    }
    printf("ticks %d, end %d, message box %d\n", ticks, (int)message.wParam, MessageBoxA(NULL, "done", "shape", MB_OK));
    return 0;
}
