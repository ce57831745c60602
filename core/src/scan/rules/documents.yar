/* Documents that act on their own. */

rule OLE_Macro_Downloads_On_Open
{
    meta:
        description = "An OLE file (Word 97, Excel 97, or the vbaProject.bin of a newer document) with a macro that runs when the document is opened, and that fetches something and starts it"
        false_positives = "none known: a template that runs on opening has no reason to download programs"
    strings:
        $open_auto = "autoopen" nocase
        $open_auto_excel = "auto_open" nocase
        $open_document = "document_open" nocase
        $open_workbook = "workbook_open" nocase
        $fetch_api = "URLDownloadToFile" nocase ascii wide
        $fetch_xml = "MSXML2." nocase ascii wide
        $fetch_http = "WinHttp.WinHttpRequest" nocase ascii wide
        $fetch_shell = "DownloadString" nocase ascii wide
        $fetch_shell_file = "DownloadFile" nocase ascii wide
        $start_shell = "WScript.Shell" nocase ascii wide
        $start_powershell = "powershell" nocase ascii wide
        $start_execute = "ShellExecute" nocase ascii wide
        $start_process = "Win32_Process" nocase ascii wide
    condition:
        uint32be(0) == 0xD0CF11E0 and uint32be(4) == 0xA1B11AE1
        and any of ($open_*) and any of ($fetch_*) and any of ($start_*)
}

rule RTF_Equation_Object_Updates_On_Open
{
    meta:
        description = "An RTF file with an Equation Editor object that is activated on opening (CVE-2017-11882, CVE-2018-0802)"
        false_positives = "none known: \\objupdate is not written by word processors for equations"
    strings:
        $update = "\\objupdate" nocase
        $class_plain = "\\objclass Equation.3" nocase
        $class_hex = "4571756174696f6e2e33" nocase
    condition:
        uint32be(0) == 0x7B5C7274 and $update and any of ($class_*)
}
