-- SPDX-License-Identifier: Apache-2.0
std = "luajit"
max_line_length = 110
read_globals = { "box", "redis" }
exclude_files = { "**/node_modules/**" }
files["modules/*/specs/*"] = { std = "+busted" }
files["examples/*/specs/*"] = { std = "+busted" }
files["test/**"] = { std = "+busted" }
