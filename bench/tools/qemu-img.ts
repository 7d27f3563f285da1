/** qemu-img as the plainest backup there is: a compressed qcow2 file. It keeps no earlier versions and has no check of data. */
import { join } from 'node:path'
import { runCommand } from '#runtime'
import type { Command } from '../measure.ts'
import type { Tool } from './tool.ts'

function convert(output: string, ...args: string[]): Command {
  return { program: 'qemu-img', args: ['convert', ...args, output], output }
}

const COMPRESSED = ['-f', 'raw', '-O', 'qcow2', '-c', '-o', 'compression_type=zstd']

export const qemuImgTool: Tool = {
  name: 'qemu-img',

  async version() {
    const result = await runCommand('qemu-img', ['--version']).catch(() => undefined)
    return result?.stdout.toString('utf8').split(' ')[2]
  },

  async prepare() {},

  commands(place) {
    const stored = join(place.repository, 'backup.qcow2')
    const backup = convert(stored, ...COMPRESSED, place.image)
    return {
      full: backup,
      scan: backup, // it knows no other way than all again
      'restore-raw': convert(join(place.target, 'disk.img'), '-f', 'qcow2', '-O', 'raw', stored),
      'restore-qcow2': convert(join(place.target, 'disk.qcow2'), '-f', 'qcow2', '-O', 'qcow2', stored),
    }
  },

  restored: (place) => join(place.target, 'disk.img'),
}
