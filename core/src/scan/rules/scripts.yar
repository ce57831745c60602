/* Files whose only purpose is to start something. */

rule LNK_Starts_Interpreter
{
    meta:
        description = "A Windows shortcut that starts a script interpreter or a download tool"
        false_positives = "an administrator who mails shortcuts to scripts"
    strings:
        $powershell = "powershell" nocase ascii wide
        $mshta = "mshta" nocase ascii wide
        $wscript = "wscript" nocase ascii wide
        $cscript = "cscript" nocase ascii wide
        $rundll = "rundll32" nocase ascii wide
        $regsvr = "regsvr32" nocase ascii wide
        $bitsadmin = "bitsadmin" nocase ascii wide
        $certutil = "certutil" nocase ascii wide
    condition:
        uint32be(0) == 0x4C000000 and uint32be(4) == 0x01140200 and any of them
}

rule HTML_Smuggles_Program
{
    meta:
        description = "A page whose script makes a file of an embedded base64 text that is a program or a zip archive, and saves it without being asked"
        false_positives = "a saved page of a program that exports zip files and carries a ready one"
    strings:
        $script = "<script" nocase
        $decode = "atob(" nocase
        $blob = "new Blob(" nocase
        $save_url = "createObjectURL" nocase
        $save_ie = "msSaveOrOpenBlob" nocase
        $payload = /["'`](TV[opqr][A-Za-z0-9+\/]|UEsDB)[A-Za-z0-9+\/]{100}/
    condition:
        $script and $decode and $blob and any of ($save_*) and $payload
}
