/* SPDX-License-Identifier: Apache-2.0 */
/* OLE: initialisation, an object that is not registered, streams, variants, arrays, strings, memory. */
#define COBJMACROS
#include <windows.h>
#include <ole2.h>
#include <oleauto.h>
#include <stdio.h>

int main(void) {
    GUID wanted, made;
    IUnknown *object = (void *)1;
    VARIANT number, text;
    WCHAR name[64];
    printf("start %lx\n", OleInitialize(NULL));
    printf("class %lx\n", CLSIDFromProgID(L"Shell.Explorer.2", &wanted));
    printf("create %d\n", FAILED(CoCreateInstance(&IID_IUnknown, NULL, CLSCTX_INPROC_SERVER, &IID_IUnknown, (void **)&object)) && object == NULL);
    printf("guid %lx %d\n", CoCreateGuid(&made), StringFromGUID2(&made, name, 64));
    VariantInit(&number);
    VariantInit(&text);
    number.vt = VT_I4;
    number.lVal = 1234;
    printf("change %lx\n", VariantChangeType(&text, &number, 0, VT_BSTR));
    printf("text %d\n", text.vt == VT_BSTR && lstrcmpW(text.bstrVal, L"1234") == 0);
    VariantClear(&text);
    SAFEARRAYBOUND bound = { 4, 0 };
    SAFEARRAY *array = SafeArrayCreate(VT_UI1, 1, &bound);
    BYTE *data = NULL;
    LONG upper = 0;
    HRESULT went = SafeArrayAccessData(array, (void **)&data);
    data[2] = 77;
    SafeArrayGetUBound(array, 1, &upper);
    printf("array %d %lx %ld %lx\n", array != NULL, went, upper, SafeArrayDestroy(array));
    SafeArrayUnaccessData(array);
    LONG index = 2;
    BYTE element = 0;
    went = SafeArrayGetElement(array, &index, &element);
    index = 4;
    printf("element %lx %d %lx\n", went, element, SafeArrayGetElement(array, &index, &element));
    SafeArrayDestroy(array);
    void *block = CoTaskMemAlloc(100);
    printf("memory %d\n", block != NULL && (block = CoTaskMemRealloc(block, 200)) != NULL);
    CoTaskMemFree(block);
    BSTR joined = SysAllocStringLen(L"joined text", 6);
    printf("string %u %d\n", SysStringByteLen(joined), lstrcmpW(joined, L"joined") == 0);
    SysFreeString(joined);
    OleUninitialize();
    return 0;
}
