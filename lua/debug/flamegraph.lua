-- SPDX-License-Identifier: Apache-2.0
--
-- Folded stacks to a flame graph (Gregg, The Flame Graph, 2016): an SVG that stands alone. The outermost
-- function is at the bottom, widths are shares of the samples, neighbours are in the order of their names.
-- Each box has a title, with its name, its samples and its share: a browser shows and finds them.

local flamegraph = {}

local WIDTH, ROW, MARGIN, HEAD, CHARACTER = 1200, 18, 10, 46, 7
local WIDTH_MIN = 0.2 -- narrower boxes are not drawn

local escapes = { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;', ['"'] = '&quot;' }

local function escape(text)
    return (text:gsub('[%c]', ' '):gsub('[&<>"]', escapes))
end

--- The tree of the stacks: a node has count and children by name.
local function read(folded)
    local root, depth = { count = 0, children = {} }, 0
    for stack, count in folded:gmatch('([^\n]+) (%d+)\n?') do
        local node, level = root, 0
        count = tonumber(count)
        root.count = root.count + count
        for name in stack:gmatch('[^;]+') do
            local child = node.children[name] or { count = 0, children = {} }
            node.children[name] = child
            child.count = child.count + count
            node, level = child, level + 1
        end
        depth = math.max(depth, level)
    end
    return root, depth
end

--- A warm colour that is always the same for a name.
local function colour(name)
    local sum = 0
    for n = 1, #name do
        sum = (sum * 31 + name:byte(n)) % 9973
    end
    return ('rgb(%d,%d,%d)'):format(205 + sum % 50, 90 + sum % 110, sum % 55)
end

local function box(out, name, node, x, y, width, total)
    local label = ''
    local room = math.floor((width - 6) / CHARACTER)
    if room >= 3 then
        label = #name <= room and name or name:sub(1, room - 2) .. '..'
    end
    out[#out + 1] = ('<g><title>%s (%d samples, %.2f%%)</title>'
        .. '<rect x="%.1f" y="%d" width="%.1f" height="%d" '
        .. 'rx="2" fill="%s"/><text x="%.1f" y="%d">%s</text></g>'):format(escape(name), node.count,
        node.count / total * 100, x, y, width, ROW - 1, colour(name), x + 3, y + 13, escape(label))
end

local function draw(out, node, x, y, scale, total)
    local names = {}
    for name in pairs(node.children) do
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local child = node.children[name]
        local width = child.count * scale
        if width >= WIDTH_MIN then
            box(out, name, child, x, y, width, total)
            draw(out, child, x, y - ROW, scale, total)
        end
        x = x + width
    end
end

--- flamegraph.draw(folded, {title}) -> SVG
---@param folded string
---@param options table?
---@return string
function flamegraph.draw(folded, options)
    local root, depth = read(folded)
    local height = HEAD + (depth + 1) * ROW + MARGIN
    local title = escape(tostring(options and options.title or 'Flame graph'))
    local out = {
        ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">'):format(
            WIDTH, height, WIDTH, height),
        '<style>text{font:12px monospace;fill:#000}rect:hover{stroke:#000}</style>',
        '<rect width="100%" height="100%" fill="#fdfdf4"/>',
        ('<text x="%d" y="24" style="font-size:16px">%s</text>'):format(MARGIN, title),
    }
    if root.count > 0 then
        local bottom, scale = height - MARGIN - ROW, (WIDTH - 2 * MARGIN) / root.count
        box(out, 'all', root, MARGIN, bottom, WIDTH - 2 * MARGIN, root.count)
        draw(out, root, MARGIN, bottom - ROW, scale, root.count)
    else
        out[#out + 1] = ('<text x="%d" y="%d">no samples</text>'):format(MARGIN, HEAD)
    end
    out[#out + 1] = '</svg>\n'
    return table.concat(out, '\n')
end

return flamegraph
