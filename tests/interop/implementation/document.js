// The tables of docs/protocol.md, read from the document itself: what stands there is what this implementation knows.

import { readFileSync } from 'node:fs'

const TEXT = readFileSync(new URL('../../../docs/protocol.md', import.meta.url), 'utf8')

export const kinds = new Map(rows('kinds').map(([number, kind, struct]) => [Number(number), { kind, struct: code(struct) }]))
export const structs = readStructs()
export const enums = new Map(rows('enums').map(([name, members]) => [code(name), numbers(members)]))
enums.set('Failure', new Set(rows('failures').map(([number]) => Number(number))))
export const failuresOfModels = new Set(rows('failures').filter((row) => row[2] === 'model').map(([number]) => Number(number)))
export const failureNames = new Map(rows('failures').map(([number, name]) => [Number(number), name]))
export const mainParameters = Object.fromEntries(rows('parameters').map(([name, main]) => [code(name), setting(main)]))
export const transitions = readTransitions()

function section (name) {
  const found = TEXT.split(`<!-- table: ${name} -->`)[1]?.split('<!-- end of table -->')[0]
  if (found === undefined) throw new Error(`docs/protocol.md has no table of ${name}`)
  return found
}

function rows (name) {
  return rowsOf(section(name))
}

// A row's cells; `\|` is a bar within one.
function rowsOf (text) {
  const lines = text.split('\n').filter((line) => line.startsWith('|'))
  return lines.slice(2).map((line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim().replaceAll('\\|', '|')))
}

function readStructs () {
  const [, ...parts] = section('structs').split(/^### /m)
  return new Map(parts.map((part) => [code(part.split('\n')[0]), rowsOf(part).map(field)]))
}

// By state (null before there is one) and event: the next state.
function readTransitions () {
  const found = new Map()
  for (const [state, event, , next] of rows('states')) {
    const from = state === '–' ? null : state
    found.set(from, new Map(found.get(from)).set(code(event), next))
  }
  return found
}

function field ([key, name, type, remark]) {
  return { key: Number(key), name: code(name), type, optional: remark === 'may be left out' }
}

function code (cell) {
  return cell.replaceAll('`', '')
}

function numbers (cell) {
  return new Set(cell.split(', ').map((member) => Number(member.split(' ')[0])))
}

function setting (cell) {
  return { true: true, false: false }[cell] ?? Number(cell.replaceAll(',', ''))
}
