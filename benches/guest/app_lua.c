/* Lua: recursion, strings, an array of numbers. */
#include "measure.h"
#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>
#include <lua5.4/lualib.h>

static lua_State *lua;

static int load(const char *code) {
    if (!lua) {
        lua = luaL_newstate();
        luaL_openlibs(lua);
    }
    return luaL_dostring(lua, code);
}

static int load_fibonacci(void) {
    return load("function f(n) if n < 2 then return n end return f(n-1) + f(n-2) end "
                "function bench() return f(20) end");
}

static int load_strings(void) {
    return load("function bench() "
                "local t = {} "
                "for i = 1, 2000 do t[#t+1] = string.format('%d:%s', i, ('x'):rep(i % 7)) end "
                "local s = table.concat(t, ',') "
                "local c = 0 "
                "for w in s:gmatch('[^,]+') do c = c + #w end "
                "table.sort(t) "
                "return c end");
}

static int load_array(void) {
    return load("function bench() "
                "local a = {} "
                "for i = 1, 5000 do a[i] = (i * 7919) % 10007 end "
                "local s = 0.0 "
                "for r = 1, 4 do for i = 2, 5000 do "
                "a[i] = (a[i] + a[i-1] * 3) % 10007; s = s + a[i] * 0.5 end end "
                "return s end");
}

static void bench(uint64_t n) {
    while (n--) {
        lua_getglobal(lua, "bench");
        if (lua_pcall(lua, 0, 1, 0)) {
            puts(lua_tostring(lua, -1));
            exit(1);
        }
        sink = (uint64_t)lua_tonumber(lua, -1);
        lua_pop(lua, 1);
    }
}

const struct measure app_lua[] = {
    {"app.lua_fib20", bench, 0, load_fibonacci, NULL},
    {"app.lua_strings", bench, 0, load_strings, NULL},
    {"app.lua_array", bench, 0, load_array, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
