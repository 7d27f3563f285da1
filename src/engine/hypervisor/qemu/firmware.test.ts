import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { chooseFirmware } from './firmware.ts'

type Overrides = { features?: string[]; machines?: string[]; types?: string[]; format?: string; device?: string }

function descriptor(name: string, more: Overrides = {}): unknown {
  return {
    'interface-types': more.types ?? ['uefi'],
    mapping: {
      device: more.device ?? 'flash',
      executable: { filename: `/fw/${name}.code`, format: more.format ?? 'raw' },
      'nvram-template': { filename: `/fw/${name}.vars`, format: 'raw' },
    },
    targets: [{ architecture: 'x86_64', machines: more.machines ?? ['pc-i440fx-*', 'pc-q35-*'] }],
    features: more.features ?? ['acpi-s3'],
  }
}

describe('chooseFirmware()', () => {
  it('passes over Secure Boot, other machines, other formats and broken descriptors', () => {
    const unfit = [
      undefined,
      'text',
      {},
      descriptor('sb', { features: ['secure-boot', 'requires-smm'] }),
      descriptor('q35-only', { machines: ['pc-q35-*'] }),
      descriptor('qcow2', { format: 'qcow2' }),
      descriptor('memory', { device: 'memory' }),
      descriptor('bios', { types: ['bios'] }),
    ]
    assert.equal(chooseFirmware(unfit, 'pc'), undefined)
    assert.deepEqual(chooseFirmware([...unfit, descriptor('good')], 'pc'), {
      code: '/fw/good.code',
      varsTemplate: '/fw/good.vars',
    })
    assert.equal(chooseFirmware(unfit, 'q35')?.code, '/fw/q35-only.code')
  })
})
