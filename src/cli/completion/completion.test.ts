import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { makeProgram } from '../program.ts'
import { commandNodes } from './command-tree.ts'
import { completionScript, type Shell } from './scripts.ts'

const nodes = commandNodes(makeProgram())

/** What bash offers for a line; the last word is being typed. */
function offered(...words: string[]): string[] {
  const line = words.map((word) => `'${word}'`).join(' ')
  const script = `${completionScript('bash', nodes)}
COMP_WORDS=(holdfast ${line}); COMP_CWORD=${words.length}; _holdfast; printf '%s\\n' "\${COMPREPLY[@]}"`
  const { status, stdout, stderr } = spawnSync('bash', ['--norc', '-c', script], { encoding: 'utf8' })
  assert.deepEqual([status, stderr], [0, ''])
  return stdout.split('\n').filter((word) => word !== '')
}

test('bash completes commands, options of the command at hand, and their values', () => {
  assert.deepEqual(offered('sna'), ['snapshot'])
  assert.deepEqual(offered('snapshot', 'gr'), ['group'])
  assert.deepEqual(offered('disk', 'create', 'd1', '--si'), ['--size'])
  assert.deepEqual(offered('disk', 'list', '--output', ''), ['table', 'json', 'yaml', 'tsv'])
  assert.deepEqual(offered('disk', 'list', '-o', 'js'), ['json'])
  assert.deepEqual(offered('-g', 'list', 'disk', 'gro'), ['grow'])
})

test('A value that reads like a command is a value, and what is hidden stays hidden', () => {
  assert.deepEqual(offered('group', 'create', 'delete', '--loc'), ['--location'])
  assert.ok(!offered('').includes('worker'))
  assert.ok(offered('').includes('snapshot'))
})

for (const shell of ['bash', 'zsh', 'fish'] as const satisfies readonly Shell[]) {
  const check = spawnSync(shell, ['-c', 'true'])
  const skip = check.error === undefined ? false : `${shell} is not installed`
  test(`${shell} can read its script`, { skip }, () => {
    const args = shell === 'fish' ? ['--no-execute'] : ['-n']
    const { status, stderr } = spawnSync(shell, args, { input: completionScript(shell, nodes), encoding: 'utf8' })
    assert.deepEqual([status, stderr], [0, ''])
  })
}
