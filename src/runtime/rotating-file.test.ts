import assert from 'node:assert/strict'
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { createRotatingFile } from './rotating-file.ts'
import { createLogger } from './logger.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hf-log-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

test('createRotatingFile() keeps so many files of so many bytes, the newest lines in the first', () => {
  const path = join(folder, 'a.log')
  const file = createRotatingFile(path, { bytesMax: 100, kept: 2 })
  for (let line = 0; line < 40; line += 1) file.write(`line ${String(line).padStart(3, '0')} of it\n`)
  file.close()
  assert.deepEqual(readdirSync(folder).sort(), ['a.log', 'a.log.1', 'a.log.2'])
  for (const name of readdirSync(folder)) assert.ok(statSync(join(folder, name)).size <= 100)
  const all = ['a.log.2', 'a.log.1', 'a.log'].map((name) => readFileSync(join(folder, name), 'utf8')).join('')
  const numbers = all
    .trim()
    .split('\n')
    .map((line) => Number(line.slice(5, 8)))
  assert.deepEqual(
    numbers,
    Array.from(numbers, (_, i) => 40 - numbers.length + i),
    'no line is missing among the newest',
  )
  assert.equal(statSync(path).mode & 0o777, 0o600)
})

test('a log that cannot be written harms nobody, and says afterwards how many lines it lost', () => {
  const full = createRotatingFile('/dev/full', { bytesMax: 1000, kept: 1 }) // Every write to it fails with ENOSPC.
  full.write('one\n')
  createLogger('test', full).info({}, 'a line that has no place')
  const path = join(folder, 'later', 'a.log')
  const file = createRotatingFile(path, { bytesMax: 1000, kept: 1 })
  file.write('one\n')
  file.write('two\n')
  mkdirSync(join(folder, 'later'))
  file.write('three\n')
  file.write('four\n')
  assert.equal(readFileSync(path, 'utf8'), '{"level":40,"msg":"2 lines could not be written"}\nthree\nfour\n')
})

test('createLogger() does not fail when its standard error has no space', () => {
  const fd = openSync('/dev/full', 'w')
  createLogger('test', fd).warn({}, 'a line that has no place')
  closeSync(fd)
})
